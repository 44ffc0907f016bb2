"""Both models of a generation run, loaded and probed, and the token ids of every prompt and easy answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.config import DecodingConfig, ExperimentConfig, GenerationConfig, Recipe
from ensemw2s.core.voting import Vote
from ensemw2s.data.answers import final_answer
from ensemw2s.data.people import people_among
from ensemw2s.data.splits import Split
from ensemw2s.ensemble.rate import Rating, learners, rate_answers
from ensemw2s.ensemble.words.answer_votes import token_vote
from ensemw2s.ensemble.words.separate import tokenizer_difference
from ensemw2s.errors import ConfigError
from ensemw2s.examples import Task
from ensemw2s.forms.generation.contexts import AnswerContexts, check_untrained, contexts_of
from ensemw2s.forms.generation.decoding import fit_decoding
from ensemw2s.forms.generation.role import AnswerRole, load_role
from ensemw2s.forms.prepare import check_packing_of, with_rating
from ensemw2s.forms.prepared import Prepared
from ensemw2s.models.inputs import IdInputs, JoinedInputs
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.storage.store import Store


@dataclass(frozen=True)
class AnswerPrepared(Prepared):
    """A validated generation experiment."""

    pool: tuple[AnswerRole, ...]
    strong: AnswerRole
    decoding: DecodingConfig
    """`config.generation.decoding`, fitted to the training answers."""
    contexts: Mapping[int, AnswerContexts] = field(default_factory=dict[int, AnswerContexts])
    """What members read before each question, by seed; empty where none does."""

    @property
    def weak(self) -> AnswerRole:
        """The weak model; of a pool the first."""
        return self.pool[0]

    @property
    def roles(self) -> Mapping[str, AnswerRole]:
        return {name: role for name, role in super().roles.items() if isinstance(role, AnswerRole)}

    @property
    def by_choice(self) -> bool:
        """Whether a question's options are scored, and no answer is written."""
        return self.config.generation.answer_by == "choices"

    def final(self, text: str) -> str:
        """What of an answer is compared, as the task compares answers."""
        return final_answer(text, verifier=self.task.verifier)

    @property
    def token_vote(self) -> Vote:
        """How models that write together mix their next tokens."""
        return token_vote(self.config.ensemble.plain_vote)

    def most_begun(self, role: AnswerRole) -> int:
        """Tokens of an answer that a sample goes on from, at most (`generation.restart`)."""
        return _most_begun(self.config.generation, self.decoding, role)

    @property
    def learns_mixtures(self) -> bool:
        """Whether some recipe learns the mixtures behind its teachers' tokens."""
        return any(recipe.learns_mixtures for recipe in self.config.students.recipes)

    def options(self, rows: Int[Tensor, " rows"]) -> list[tuple[str, ...]]:
        """The options of these questions, where they have some."""
        return [self.split.examples[row].choices or () for row in rows.tolist()]

    def easy_answers(self, role: AnswerRole) -> AnswerTokens:
        """True answers of the easy pool, which comes first in the split, as a model's tokens."""
        texts = self.split.easy_answers
        return role.answers(torch.arange(len(texts)), texts, self.names[: len(texts)])


class AnswerModels:
    """The weak models, loaded and probed; the strong one follows once the task is rated.

    Raises:
        ModelError, ConfigError: a model cannot be used as configured.
    """

    def __init__(self, config: ExperimentConfig, store: Store, on_tokens: Callable[[str, int], None]):
        self.config, self.store, self.on_tokens = config, store, on_tokens
        check_untrained(config)
        noise = config.generation.init_noise
        self.pool = [load_role(model, config.cache, store, on_tokens, noise) for model in config.pool]

    @cached_property
    def _strong(self) -> AnswerRole:
        config = self.config
        alike = [role for role in self.pool if role.config == config.strong and not config.generation.init_noise]
        return alike[0] if alike else load_role(config.strong, config.cache, self.store, self.on_tokens, 0.0)

    def rated(self, task: Task) -> Task:
        """The task with the difficulty that the (first) weak model finds; the raters' own examples leave it."""
        config, groups = self.config, [e.group_id for e in task.examples]
        labelled = learners(groups, config.difficulty, config.split.seed).tolist()
        learned = [str(task.examples[i].answer) for i in labelled]
        decoding, _ = fit_decoding(config.generation.decoding, learned, [_reader(self.pool[0])])
        role = self.pool[0].asked(task.examples, decoding)

        def truths(rows: Int[Tensor, " rows"]) -> AnswerTokens:
            chosen = [task.examples[row] for row in rows.tolist()]
            return role.answers(rows, [str(e.answer) for e in chosen], [e.id for e in chosen])

        def rating() -> Rating:
            return rate_answers(
                role.backbone,
                role.prompts,
                truths,
                role.open,
                groups,
                role.builder(config.training_of_experts),
                config.training_of_experts,
                decoding,
                config.difficulty,
                seed=config.split.seed,
            )

        deciding = {"weak": role.fingerprint, "decoding": decoding.model_dump(exclude={"batch_rows"})}
        return with_rating(task, rating, deciding, config, self.store)

    def prepared(self, task: Task, split: Split, people: Mapping[str, str]) -> AnswerPrepared:
        """Encode every prompt and easy answer, so that what is too long is refused before any training.

        Raises:
            DataError, ModelError, ConfigError: naming what to mend.
        """
        config = self.config
        strong = self._strong
        for recipe in config.students.recipes:
            if recipe.learns_mixtures:
                _check_tokenizers(recipe, self.pool[0], strong)
        learned = [*split.easy_answers, *people.values()]
        readers = [_reader(role) for role in (*self.pool, strong)]
        decoding, notes = fit_decoding(config.generation.decoding, learned, readers)
        asked = {
            id(role): role.asked(split.examples, decoding, begun=_most_begun(config.generation, decoding, role))
            for role in (*self.pool, strong)
        }
        pool, strong = tuple(asked[id(role)] for role in self.pool), asked[id(strong)]
        for role in pool:
            check_packing_of(config.expert_training, role.config, role.backbone)
        check_packing_of(config.student_training, strong.config, strong.backbone)
        task = replace(task, notes=(*task.notes, *notes))
        contexts = contexts_of(config, split, pool[0], decoding.max_new_tokens)
        prepared = AnswerPrepared(config, task, split, pool, strong, people, decoding, contexts)
        for role in (*pool, strong):
            prepared.easy_answers(role)
        if answered := people_among(people, prepared.names):
            rows = torch.tensor(list(answered))
            strong.answers(rows, list(answered.values()), prepared.names_of(rows))
        return prepared

    def check(self, prepared: AnswerPrepared, split: Split, section: str) -> None:
        """Raises DataError for a prompt of a split with other prompts that leaves no room for an answer."""
        for role in (*prepared.pool, prepared.strong):
            role.asked(split.examples, prepared.decoding)


def join(first: AnswerTokens, second: AnswerTokens) -> AnswerTokens:
    """The rows of both, one set after the other."""
    return AnswerTokens(first.ids + second.ids, first.prompt_lengths + second.prompt_lengths)


def joined_inputs(first: Inputs, second: Inputs) -> Inputs:
    """What belongs to `join`."""
    if isinstance(first, IdInputs) and isinstance(second, IdInputs):
        return IdInputs(first.token_ids + second.token_ids, first.pad_id)
    return JoinedInputs((first, second))


def _check_tokenizers(recipe: Recipe, weak: AnswerRole, strong: AnswerRole) -> None:
    """Raises ConfigError where what a recipe learns of the weak model's next tokens is not over the strong one's."""
    if difference := tokenizer_difference(weak.backbone.tokenizer, strong.backbone.tokenizer):
        raise ConfigError(
            f"students.recipes: {recipe.name} learns the weak model's probabilities of each token, and "
            f"{strong.config.model}: {difference}; choose labels: hard, which learns the texts, or models of one "
            "tokenizer"
        )


def _reader(role: AnswerRole) -> tuple[PreTrainedTokenizerBase, bool]:
    return role.backbone.tokenizer, role.config.chat


def _most_begun(settings: GenerationConfig, decoding: DecodingConfig, role: AnswerRole) -> int:
    """A whole answer and the marker behind it; nothing where samples are written from the start."""
    if settings.restart is None:
        return 0
    marker = role.backbone.tokenizer(settings.restart.marker, add_special_tokens=False)["input_ids"]
    return decoding.max_new_tokens + len(marker)
