"""The contexts of one seed's members, and what the weak model makes of the questions behind them."""

from dataclasses import replace
from functools import cache, cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import ExperimentConfig, canonical_hash
from ensemw2s.config.model import Pooling
from ensemw2s.data.encode import unreadable
from ensemw2s.data.splits import Draw, Split
from ensemw2s.ensemble.contexts import CONTEXTS, Context, ContextSource
from ensemw2s.ensemble.methods import n_contexts
from ensemw2s.errors import DataError
from ensemw2s.forms.classification.role import ClassRole, vectors
from ensemw2s.models.activations import pooled_for_depths
from ensemw2s.models.likelihood import Likelihood, choice_likelihood
from ensemw2s.prompting import ids_behind
from ensemw2s.records import Inputs, TensorStore


def spare_rows(split: Split, draw: Draw) -> Int[Tensor, " spare"]:
    """Rows of the easy pool that are in no other part of the seed."""
    taken = {*draw.easy_train.tolist(), *draw.easy_val.tolist()}
    return torch.tensor([row for row in split.pools["easy_pool"] if row not in taken], dtype=torch.long)


class SeedContexts:
    """What members read before each question, by the member's number. Texts are read when they are first needed.

    Args:
        split: of the run; no sealed answer is read.
        store: where activations are kept.
    """

    def __init__(self, config: ExperimentConfig, split: Split, role: ClassRole, store: TensorStore, seed: int):
        self._config, self._split, self.role, self._store = config, split, role, store
        self._seed = seed
        self.context = cache(self._context)
        self._inputs = cache(self._opened)
        self._tokens = cache(self._encoded)

    @cached_property
    def _source(self) -> ContextSource:
        rows = spare_rows(self._split, self._split.draw(self._seed))
        return ContextSource(
            config=self._config.ensemble.context,
            prompts=[self._split.examples[row].prompt for row in rows.tolist()],
            labels=self._split.easy_labels[rows],
            choices=self._split.choices,
            n_members=n_contexts(self._config.ensemble),
            seed=self._seed,
        )

    @cached_property
    def _likelihood(self) -> Likelihood:
        model = self.role.config.model
        return choice_likelihood(self.role.backbone, model, self._split.choices, reads_shared=True)

    def _context(self, number: int) -> Context:
        return CONTEXTS[self._source.config.kind](self._source, number)

    def deciding(self, number: int) -> str:
        """What of a context decides an expert: for keys of the store."""
        return canonical_hash(self.context(number).prefix)

    def pooled(self, number: int) -> Inputs:
        """The feature of every question behind a context, as the weak model's heads read it."""
        return self._inputs(number, self.role.backbone.pooling, ())

    def ask(self, number: int, rows: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
        """The untrained model's log-likelihood of each choice."""
        last = self._inputs(number, ("last",), self._likelihood.shared)
        return self._likelihood(vectors(last, rows))

    def n_read(self, number: int, *, is_asked: bool) -> int:
        """Tokens that the model reads to see every question behind a context, which it reads once.

        Args:
            is_asked: whether for its likelihood of the choices, whose shared tokens it then reads, too.
        """
        prefix, ids = self._tokens(number)
        return len(prefix) + sum(map(len, ids)) + (len(self._likelihood.shared) * len(ids) if is_asked else 0)

    @property
    def mean_tokens(self) -> float:
        """Tokens before a question, on average over the members."""
        n, n_own = self._source.n_members, int(self.role.inputs.lengths.sum())
        behind = (self.pooled_lengths(number) for number in range(n))
        return (sum(behind) / n - n_own) / len(self._split.examples)

    def pooled_lengths(self, number: int) -> int:
        """Tokens of all questions, each with its context."""
        prefix, ids = self._tokens(number)
        return len(prefix) * len(ids) + sum(map(len, ids))

    @property
    def asks_alike(self) -> bool:
        """Whether what is asked is what heads read, so that one pass serves both."""
        return self.role.backbone.pooling == ("last",) and not self._likelihood.shared

    def check(self) -> None:
        """Raises DataError for a question that is too long behind a context, ConfigError where one cannot be made."""
        config, positions = self.role.config, self.role.backbone.positions
        for number in range(self._source.n_members):
            prefix, ids = self._tokens(number)
            for example, own in zip(self._split.examples, ids, strict=True):
                n_tokens = len(prefix) + len(own)
                if reason := unreadable(n_tokens, max_length=config.max_length, positions=positions):
                    raise DataError(
                        f"example {example.id!r}: behind context {number} of seed {self._seed} (ensemble.context) its "
                        f"prompt has {reason}; or read less before it"
                    )

    def _encoded(self, number: int) -> tuple[list[int], list[list[int]]]:
        backbone, prompts = self.role.backbone, [example.prompt for example in self._split.examples]
        return ids_behind(backbone.tokenizer, self.context(number).prefix, prompts, is_causal=backbone.is_causal)

    def _opened(self, number: int, pooling: tuple[Pooling, ...], after: tuple[int, ...]) -> Inputs:
        backbone = replace(self.role.backbone, pooling=pooling)
        prefix, ids = self._tokens(number)
        depth = backbone.n_layers
        found = pooled_for_depths(
            backbone,
            [[*one, *after] for one in ids],
            [depth],
            cache=self._config.cache,
            store=self._store,
            prefix=prefix,
        )
        return found[depth]
