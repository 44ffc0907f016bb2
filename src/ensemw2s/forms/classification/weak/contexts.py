"""The contexts of one seed's members, and what the weak model makes of the questions behind them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, cached_property

from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import DecodingConfig, ExperimentConfig, canonical_hash
from ensemw2s.config.model import Pooling
from ensemw2s.data.encode import unreadable
from ensemw2s.data.splits import Split
from ensemw2s.ensemble.contexts import CONTEXTS, Context, ContextSource, most_before
from ensemw2s.ensemble.methods import n_contexts
from ensemw2s.errors import DataError
from ensemw2s.forms.classification.role import ClassRole, vectors
from ensemw2s.forms.classification.weak.writing import Writer
from ensemw2s.forms.prepare import spare_rows
from ensemw2s.models.activations import pooled_for_depths
from ensemw2s.models.likelihood import Likelihood, choice_likelihood
from ensemw2s.prompting import ids_behind, ids_behind_each, prompt_ids
from ensemw2s.records import Inputs, TensorStore
from ensemw2s.results import Cost


class SeedContexts:
    """What members read before each question, by the member's number. Texts are read when they are first needed.

    Args:
        split: of the run; no sealed answer is read.
        store: where activations are kept.
        writer: the model that writes contexts, where one does.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        split: Split,
        role: ClassRole,
        store: TensorStore,
        seed: int,
        writer: Writer | None = None,
    ):
        self._config, self._split, self.role, self._store = config, split, role, store
        self._seed, self.writer = seed, writer
        self._wishes: dict[int, list[tuple[Sequence[str], DecodingConfig]]] = {}
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
            questions=[example.prompt for example in self._split.examples],
        )

    @cached_property
    def _likelihood(self) -> Likelihood:
        model = self.role.config.model
        return choice_likelihood(self.role.backbone, model, self._split.choices, reads_shared=True)

    def _context(self, number: int) -> Context:
        wishes, writer = self._wishes.setdefault(number, []), self.writer

        def write(prompts: Sequence[str], decoding: DecodingConfig) -> list[str]:
            assert writer is not None, "made where contexts are written"
            wishes.append((prompts, decoding))
            return writer.write(prompts, decoding)

        return CONTEXTS[self._source.config.kind](replace(self._source, write=write), number)

    def most_written(self) -> tuple[int, int]:
        """Tokens that are read to write all contexts, and that are written at most; nothing is written for that."""
        wishes: dict[str, tuple[Sequence[str], DecodingConfig]] = {}

        def wish(prompts: Sequence[str], decoding: DecodingConfig) -> list[str]:
            wishes[canonical_hash([list(prompts), decoding.model_dump()])] = prompts, decoding
            return [""] * len(prompts)

        for number in range(self._source.n_members):
            CONTEXTS[self._source.config.kind](replace(self._source, write=wish), number)
        tokenizer = self.role.backbone.tokenizer if self.writer is None else self.writer.role.backbone.tokenizer
        n_read = sum(len(ids) for prompts, _ in wishes.values() for ids in prompt_ids(tokenizer, prompts))
        return n_read, sum(len(prompts) * decoding.max_new_tokens for prompts, decoding in wishes.values())

    def writing_cost(self, numbers: Iterable[int]) -> list[Cost]:
        """Of writing these contexts; what several are made of is written once."""
        written: dict[str, Cost] = {}
        for number in numbers:
            self.context(number)
            for prompts, decoding in self._wishes[number]:
                assert self.writer is not None
                key = canonical_hash([list(prompts), decoding.model_dump()])
                written[key] = self.writer.cost(prompts, decoding)
        return list(written.values())

    def deciding(self, number: int) -> str:
        """What of a context decides an expert: for keys of the store."""
        context = self.context(number)
        return canonical_hash(list(context.texts) or context.prefix)

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
        return len(prefix) + sum(map(len, ids)) + self._n_shared(is_asked=is_asked)

    def n_read_at_most(self, *, is_asked: bool) -> float:
        """The same before anything is written, on average over the members."""
        numbers, per_question = range(self._source.n_members), len(self._split.examples) if self.writer else 1
        each = (before * per_question + sum(map(len, ids)) for before, ids in map(self._longest, numbers))
        return sum(each) / len(numbers) + self._n_shared(is_asked=is_asked)

    def _n_shared(self, *, is_asked: bool) -> int:
        return len(self._likelihood.shared) * len(self._split.examples) if is_asked else 0

    @property
    def mean_tokens(self) -> float:
        """Tokens before a question, on average over the members; of what is to be written as many as there may be."""
        numbers, n = range(self._source.n_members), len(self._split.examples)
        own = int(self.role.inputs.lengths.sum())
        each = ((before * n + sum(map(len, ids)) - own) / n for before, ids in map(self._longest, numbers))
        return sum(each) / len(numbers)

    @property
    def asks_alike(self) -> bool:
        """Whether what is asked is what heads read, so that one pass serves both."""
        return self.role.backbone.pooling == ("last",) and not self._likelihood.shared

    def check(self) -> None:
        """Raises DataError for a question that is too long behind a context, ConfigError where one cannot be made."""
        for number in range(self._source.n_members):
            self._fitting(number, *self._longest(number))

    def _fitting(self, number: int, before: int, ids: Sequence[Sequence[int]]) -> None:
        """Raises DataError where a question is too long behind so many tokens."""
        limits = {"max_length": self.role.config.max_length, "positions": self.role.backbone.positions}
        for example, own in zip(self._split.examples, ids, strict=True):
            if reason := unreadable(before + len(own), **limits):
                raise DataError(
                    f"example {example.id!r}: behind context {number} of seed {self._seed} (ensemble.context) its "
                    f"prompt has {reason}; or read less before it"
                )

    def _longest(self, number: int) -> tuple[int, list[list[int]]]:
        """Tokens before a question at most, and of each question; what is to be written is not written for that."""
        if self.writer is None:
            prefix, ids = self._tokens(number)
            return len(prefix), ids
        tokenizer, source = self.role.backbone.tokenizer, self._source
        n_written, beside = most_before(source.config, source.choices)
        (before,) = prompt_ids(tokenizer, [beside])
        return n_written + len(before), prompt_ids(tokenizer, source.questions)

    def _encoded(self, number: int) -> tuple[list[int], list[list[int]]]:
        backbone, context, prompts = self.role.backbone, self.context(number), self._source.questions
        if context.texts:
            ids = ids_behind_each(backbone.tokenizer, context.texts, prompts)
            self._fitting(number, 0, ids)  # another tokenizer may make more tokens of a text than its writer did
            return [], ids
        return ids_behind(backbone.tokenizer, context.prefix, prompts, is_causal=backbone.is_causal)

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
