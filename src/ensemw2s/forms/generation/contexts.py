"""What the members of one seed read before each question that they answer in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from ensemw2s.config import ExperimentConfig
from ensemw2s.data.encode import unreadable
from ensemw2s.data.splits import Split
from ensemw2s.ensemble.contexts import CONTEXTS, Context, ContextSource
from ensemw2s.ensemble.methods import n_contexts
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.forms.generation.role import AnswerRole
from ensemw2s.forms.prepare import spare_rows
from ensemw2s.models.loading.load import n_layers_of
from ensemw2s.prompting import prefix_ids
from ensemw2s.tables import METHODS


@dataclass(frozen=True)
class Prefix:
    """A context as tokens."""

    text: str
    ids: tuple[int, ...]
    """With the special tokens at the start of a text."""
    n_start: int
    """How many those are."""


@dataclass(frozen=True)
class AnswerContexts:
    """The contexts of one seed, by the member's number."""

    config: ExperimentConfig
    split: Split
    role: AnswerRole
    seed: int

    @cached_property
    def prefixes(self) -> tuple[Prefix, ...]:
        """Of every member. Raises ConfigError where the pool has too few examples to show."""
        rows = spare_rows(self.split, self.split.draw(self.seed)).tolist()
        source = ContextSource(
            config=self.config.ensemble.context,
            prompts=[self.split.examples[row].prompt for row in rows],
            labels=torch.zeros(len(rows), dtype=torch.long),
            choices=("",),
            n_members=n_contexts(self.config.ensemble),
            seed=self.seed,
            answers=[self.split.easy_answers[row] for row in rows],
        )
        make = CONTEXTS[source.config.kind]
        return tuple(self._encoded(make(source, number)) for number in range(source.n_members))

    def _encoded(self, context: Context) -> Prefix:
        ids, n_start = prefix_ids(self.role.backbone.tokenizer, context.prefix)
        return Prefix(context.prefix, tuple(ids), n_start)

    @property
    def mean_tokens(self) -> float:
        """Tokens before a question, on average over the members."""
        return sum(len(prefix.ids) for prefix in self.prefixes) / len(self.prefixes)

    def check(self, room: int) -> None:
        """Raises DataError where a question behind a context leaves less room for an answer than this."""
        limits = {"max_length": self.role.config.max_length, "positions": self.role.backbone.positions}
        longest = max(range(len(self.role.prompts)), key=lambda row: len(self.role.prompts[row]))
        for number, prefix in enumerate(self.prefixes):
            n_tokens = len(prefix.ids) - prefix.n_start + len(self.role.prompts[longest])
            if reason := unreadable(n_tokens, room=room, **limits):
                raise DataError(
                    f"example {self.split.examples[longest].id!r}: behind context {number} of seed {self.seed} "
                    f"(ensemble.context) its prompt has {reason}; or read less before it"
                )


def contexts_of(config: ExperimentConfig, split: Split, role: AnswerRole, room: int) -> Mapping[int, AnswerContexts]:
    """Of every seed, checked; none where no method reads any. Raises as `AnswerContexts.check`.

    Args:
        room: tokens that an answer may have.
    """
    if not n_contexts(config.ensemble):
        return {}
    made = {seed: AnswerContexts(config, split, role, seed) for seed in config.seeds}
    for contexts in made.values():
        contexts.check(room)
    return made


def check_untrained(config: ExperimentConfig) -> None:
    """Raises ConfigError where a model that is asked and not trained is cut to its first layers."""
    asked = [name for name in config.ensemble.methods if not METHODS[name].learns]
    if not asked:
        return
    used, has = n_layers_of(config.pool[0])
    if used < has:
        raise ConfigError(
            f"weak.n_layers ({used}): the pretrained model is asked for its next token, which the first {used} of its "
            f"{has} layers do not say; leave weak.n_layers out (null), or take {asked[0]} out of ensemble.methods"
        )
