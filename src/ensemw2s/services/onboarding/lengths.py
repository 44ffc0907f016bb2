"""Whether the models can read every prompt and write every answer, told without their weights: for `validate`."""

from collections.abc import Sequence

from ensemw2s.config import ExperimentConfig, ModelConfig
from ensemw2s.data.encode import encode, encode_answers
from ensemw2s.data.splits import Split
from ensemw2s.ensemble.rate import learners
from ensemw2s.examples import Example, Task
from ensemw2s.forms.generation.decoding import check_stop, fit_decoding
from ensemw2s.models.loading.checkpoint import local_copy
from ensemw2s.models.loading.load import load_positions
from ensemw2s.models.loading.tokenizer import load_tokenizer
from ensemw2s.pipeline.prepare import people_of


def check_lengths(config: ExperimentConfig, task: Task, split: Split | None) -> tuple[dict[str, str], list[str]]:
    """A phrase for the weak and the strong model, and sentences that the user must hear.

    A model that is not on this machine is not fetched: then `run` checks it, before any training.

    Raises:
        DataError: a prompt, or a training answer after it, is longer than a model reads; a text that ends an answer is
            in the training answers.
        ModelError: a model's tokenizer or configuration cannot be read.
    """
    learned = _learned(config, task, split) if config.is_generation else []
    check_stop(config.generation.decoding, [str(e.answer) for e in learned])
    sides = {name: model for name, model in config.models if not (model.is_tfidf or model.is_features)}
    found = {name: local_copy(model) for name, model in sides.items()}
    said = {name: f"not checked: {sides[name].model} is not on this machine" for name, it in found.items() if not it}
    here = {name: copy[0] for name, copy in found.items() if copy is not None}
    tokenizers = {name: load_tokenizer(model) for name, model in here.items()}
    notes, room = [], 0
    if config.is_generation:
        answers = [*(str(e.answer) for e in learned), *people_of(config, task).values()]
        readers = [(tokenizers[name], model.chat) for name, model in here.items()]
        decoding, notes = fit_decoding(config.generation.decoding, answers, readers)
        room = decoding.max_new_tokens
    examples = task.examples if split is None else split.examples
    for name, model in here.items():
        positions = load_positions(model)
        ids = encode(
            tokenizers[name],
            [e.prompt for e in examples],
            max_length=model.max_length,
            positions=positions,
            room=room,
            names=[e.id for e in examples],
            chat=model.chat,
        )
        if learned:
            of = {e.id: one for e, one in zip(examples, ids, strict=True)}
            encode_answers(
                tokenizers[name],
                [of[e.id] for e in learned],
                [str(e.answer) for e in learned],
                max_length=model.max_length,
                positions=positions,
                names=[e.id for e in learned],
                chat=model.chat,
            )
        longest = model.max_length if positions is None else min(model.max_length, positions)
        said[name] = f"the longest prompt has {max(map(len, ids)):,} tokens, at most {longest - room:,} are read"
        if "max_length" in model.model_fields_set and longest < model.max_length:
            notes.append(
                f"{name}.max_length is {model.max_length:,}, but {sides[name].model} has {longest:,} positions: a "
                "longer prompt is refused"
            )
    return said, notes


def _learned(config: ExperimentConfig, task: Task, split: Split | None) -> Sequence[Example]:
    """The examples whose answers are learned before any label is written."""
    if split is not None:
        return split.examples[: len(split.easy_answers)]
    rows = learners([e.group_id for e in task.examples], config.difficulty, config.split.seed)
    return [task.examples[i] for i in rows.tolist()]


def positions_here(model: ModelConfig) -> int | None:
    """How many tokens a model reads; None where nothing bounds them, or it would have to be fetched to know.

    Raises:
        ModelError: its configuration cannot be read.
    """
    found = local_copy(model)
    return None if found is None else load_positions(found[0])
