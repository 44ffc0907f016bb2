"""Everything that must be right before a generation experiment starts: task, split, both models, the easy answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.config import DecodingConfig, ExperimentConfig, ModelConfig, TrainConfig
from ensemw2s.core.voting import Vote
from ensemw2s.data.encode import encode, encode_answers
from ensemw2s.data.people import people_among
from ensemw2s.data.splits import Split, make_split
from ensemw2s.ensemble.decode import Decoded, decode
from ensemw2s.ensemble.members import SharedTrunk
from ensemw2s.ensemble.probes import check_answerer
from ensemw2s.ensemble.rate import Rating, learners, rate_answers
from ensemw2s.errors import ConfigError
from ensemw2s.examples import Example, Task
from ensemw2s.forms.generation.decoding import fit_decoding
from ensemw2s.models.activations import IdInputs, JoinedInputs, open_activations
from ensemw2s.models.language import AnswerModel, load_answer_model, vocabulary_head
from ensemw2s.models.loading.load import Backbone, load_backbone
from ensemw2s.models.upper import own_layers
from ensemw2s.models.vocabulary import VocabularyHead
from ensemw2s.pipeline.prepare import check, check_packings, people_of, rated_by_chance, with_rating
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.storage.store import Store


@dataclass(frozen=True)
class AnswerSide:
    """The weak or the strong model of a run that answers in words."""

    config: ModelConfig
    backbone: Backbone
    """Cut to the layers that this side uses."""
    unembedding: VocabularyHead
    init_noise: float
    open: Callable[[Sequence[Sequence[int]]], Inputs]
    """Trunk activations of token sequences, through the store."""
    flops_per_token: float
    """Of one forward pass through the trunk: twice its weights that multiply."""
    prompts: tuple[tuple[int, ...], ...] = ()
    """Of every example of the split."""

    def builder(self, training: TrainConfig) -> Callable[[Generator], AnswerModel]:
        """What makes a fresh trainable module of this side from a generator."""
        return lambda generator: AnswerModel(
            self.backbone,
            self.unembedding,
            self.config,
            dropout=training.dropout,
            init_noise=self.init_noise,
            generator=generator,
        )

    def load(self, states: Sequence[dict[str, Tensor]]) -> list[AnswerModel]:
        """Trained modules from their states."""
        return [load_answer_model(self.backbone, self.unembedding, self.config, state) for state in states]

    def untrained(self) -> AnswerModel:
        """The pretrained model, cut to this side's layers, in the form of a member."""
        return AnswerModel(self.backbone, self.unembedding, self.config, generator=Generator()).eval()

    def write(
        self,
        models: Sequence[AnswerModel],
        expert_weights: Float[Tensor, " experts"],
        rows: Int[Tensor, " rows"],
        config: DecodingConfig,
        row_ids: Sequence[str],
        vote: Vote,
    ) -> list[Decoded]:
        """These members' common answers to examples of the split."""
        members = SharedTrunk(self.backbone, models)
        prompts = [self.prompts[row] for row in rows.tolist()]
        return decode(members, expert_weights, self.backbone.tokenizer, prompts, config, vote=vote, row_ids=row_ids)

    def option_answers(
        self, rows: Int[Tensor, " rows"], options: Sequence[Sequence[str]], names: Sequence[str]
    ) -> AnswerTokens:
        """Prompts of the split with each of their options in turn. Raises DataError."""
        owner = torch.repeat_interleave(rows, torch.tensor([len(each) for each in options]))
        texts = [option for each in options for option in each]
        return self.answers(owner, texts, [name for name, each in zip(names, options, strict=True) for _ in each])

    def answers(self, rows: Int[Tensor, " rows"], texts: Sequence[str], names: Sequence[str]) -> AnswerTokens:
        """Prompts of the split with these answers; `names` are those of the rows. Raises DataError."""
        return encode_answers(
            self.backbone.tokenizer,
            [self.prompts[r] for r in rows.tolist()],
            texts,
            max_length=self.config.max_length,
            positions=self.backbone.positions,
            names=names,
            chat=self.config.chat,
        )

    @property
    def fingerprint(self) -> dict[str, object]:
        """What of this side decides a training: the weights, the cut, the arithmetic, the adapter and the noise."""
        return {
            **self.config.deciding,
            "weights": self.backbone.fingerprint,
            "dtype": str(self.backbone.dtype),
            "init_noise": self.init_noise,
        }

    def describe(self) -> str:
        """One phrase for the report."""
        if self.config.adapter == "full":
            return f"{self.config.model}, first {self.backbone.n_layers} layers, all weights trained"
        n = own_layers(self.config, self.backbone)
        which = "all" if n == self.backbone.n_layers else f"the upper {n}"
        how = f"own copies of {which} layers" if self.config.adapter == "top" else f"LoRA on {which} layers"
        return f"{self.config.model}, first {self.backbone.n_layers} layers, {how}"


@dataclass(frozen=True)
class AnswerPrepared:
    """A validated generation experiment, ready to train."""

    config: ExperimentConfig
    task: Task
    split: Split
    weak: AnswerSide
    strong: AnswerSide
    decoding: DecodingConfig
    """`config.generation.decoding`, fitted to the training answers."""
    people: Mapping[str, str] = field(default_factory=dict)
    """id to the answer that a person gave."""

    @property
    def names(self) -> list[str]:
        return [e.id for e in self.split.examples]

    def options(self, rows: Int[Tensor, " rows"]) -> list[tuple[str, ...]]:
        """The options of these questions, which have some (`generation.answer_by: choices`)."""
        return [self.split.examples[row].choices or () for row in rows.tolist()]

    @property
    def easy_texts(self) -> list[str]:
        """True answers of the easy pool, which comes first in the split."""
        return [self.task.choices[k] for k in self.split.easy_labels.tolist()]


def prepare_answers(
    config: ExperimentConfig, store: Store, on_tokens: Callable[[str, int], None], *, is_plan: bool = False
) -> AnswerPrepared:
    """Load, rate, split, encode; every prompt and easy answer is checked before the experts are trained.

    Args:
        is_plan: as `prepare`.

    Raises:
        DataError, ModelError, ConfigError: naming what to mend.
    """
    task, split = check(config)
    people = people_of(config, task)
    weak = _side(config.weak, config, store, on_tokens, config.generation.init_noise)
    if split is None and is_plan:
        task = rated_by_chance(task, config)
        split = make_split(task, config.split)
    elif split is None:
        task = _rated(task, config, weak, store)
        split = make_split(task, config.split)
    same = config.weak == config.strong and not config.generation.init_noise
    strong = weak if same else _side(config.strong, config, store, on_tokens, 0.0)
    learned = [*(task.choices[k] for k in split.easy_labels.tolist()), *people.values()]
    decoding, notes = fit_decoding(config.generation.decoding, learned, [_reader(weak), _reader(strong)])
    task = replace(task, notes=(*task.notes, *notes))
    weak = _asked(weak, split.examples, decoding)
    strong = weak if same else _asked(strong, split.examples, decoding)
    check_packings(config, weak.backbone, strong.backbone)
    prepared = AnswerPrepared(config, task, split, weak, strong, decoding, people)
    rows = torch.arange(len(split.easy_labels))
    for side in (weak, strong):
        side.answers(rows, prepared.easy_texts, prepared.names[: len(rows)])
    if answered := people_among(people, prepared.names):
        asked = torch.tensor(list(answered))
        strong.answers(asked, list(answered.values()), [prepared.names[i] for i in answered])
    return prepared


def join(first: AnswerTokens, second: AnswerTokens) -> AnswerTokens:
    """The rows of both, one set after the other."""
    return AnswerTokens(first.ids + second.ids, first.prompt_lengths + second.prompt_lengths)


def joined_inputs(first: Inputs, second: Inputs) -> Inputs:
    """What belongs to `join`."""
    if isinstance(first, IdInputs) and isinstance(second, IdInputs):
        return IdInputs(first.token_ids + second.token_ids, first.pad_id)
    return JoinedInputs((first, second))


def _side(
    model: ModelConfig,
    config: ExperimentConfig,
    store: Store,
    on_tokens: Callable[[str, int], None],
    init_noise: float,
) -> AnswerSide:
    backbone = load_backbone(model)
    n_own = own_layers(model, backbone)
    if n_own > backbone.n_layers or (model.adapter == "top" and n_own == backbone.n_layers):
        raise ConfigError(
            f"{model.model}: {n_own} own upper layers of {backbone.n_layers} leave no trunk; lower top_layers or "
            "lora_layers"
        )
    unembedding = vocabulary_head(backbone)
    check_answerer(backbone, model)
    below = model
    if model.adapter != "full":
        below = model.model_copy(update={"adapter": "top", "top_layers": n_own, "n_layers": backbone.n_layers})

    def open_(ids: Sequence[Sequence[int]]) -> Inputs:
        return open_activations(
            backbone,
            ids,
            config=below,
            cache=config.cache,
            store=store,
            on_tokens=lambda n: on_tokens(model.model, n),
        )

    trunk = backbone.cut(backbone.n_layers - n_own) if n_own < backbone.n_layers else None
    return AnswerSide(
        model,
        backbone,
        unembedding,
        init_noise,
        open_,
        0.0 if trunk is None else 2.0 * _weights(trunk),
    )


def _reader(side: AnswerSide) -> tuple[PreTrainedTokenizerBase, bool]:
    return side.backbone.tokenizer, side.config.chat


def _asked(side: AnswerSide, examples: Sequence[Example], decoding: DecodingConfig) -> AnswerSide:
    """The side with the prompts of these examples. Raises DataError."""
    prompts = encode(
        side.backbone.tokenizer,
        [e.prompt for e in examples],
        max_length=side.config.max_length,
        positions=side.backbone.positions,
        room=decoding.max_new_tokens,
        names=[e.id for e in examples],
        chat=side.config.chat,
    )
    return replace(side, prompts=tuple(tuple(p) for p in prompts))


def _rated(task: Task, config: ExperimentConfig, side: AnswerSide, store: Store) -> Task:
    """The task with the difficulty that the weak model finds; the raters' own examples leave it."""
    labelled = learners([e.group_id for e in task.examples], config.difficulty, config.split.seed).tolist()
    learned = [str(task.examples[i].answer) for i in labelled]
    decoding, _ = fit_decoding(config.generation.decoding, learned, [_reader(side)])
    side = _asked(side, task.examples, decoding)

    def truths(rows: Int[Tensor, " rows"]) -> AnswerTokens:
        chosen = [task.examples[row] for row in rows.tolist()]
        return side.answers(rows, [str(e.answer) for e in chosen], [e.id for e in chosen])

    def rating() -> Rating:
        return rate_answers(
            side.backbone,
            side.prompts,
            truths,
            side.open,
            [e.group_id for e in task.examples],
            side.builder(config.expert_training),
            config.expert_training,
            decoding,
            config.difficulty,
            seed=config.split.seed,
        )

    deciding = {"weak": side.fingerprint, "decoding": decoding.model_dump(exclude={"batch_rows"})}
    return with_rating(task, rating, deciding, config, store)


def _weights(trunk: Backbone) -> int:
    embeddings = {id(p) for p in trunk.model.get_input_embeddings().parameters()}
    return sum(p.numel() for p in trunk.model.parameters() if id(p) not in embeddings and p.ndim > 1)
