"""The records that pass between the stages. All are frozen; tensors in them are never written to."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.names import Method, Outcome


@dataclass(frozen=True, slots=True)
class Example:
    """One question: of a choice task (one of the classes is the answer) or of a free one (a text is)."""

    id: str
    """Unique in the data set; a label is traced back to its question by it."""
    group_id: str
    """What must not be torn apart by a split: the question, the city."""
    prompt: str
    """The whole text that the model reads."""
    choices: tuple[str, ...] | None = None
    """Choice tasks: the classes, in order. Free tasks: the options that this question lists, where it lists any."""
    answer: str | None = None
    """The true answer, one of `choices` where there are choices; None where it is unknown or sealed."""
    difficulty: float | None = None
    """Larger is harder; None until rated."""


@dataclass(frozen=True, slots=True)
class Task:
    """A data set with what a reader of the report must know about it."""

    name: str
    examples: tuple[Example, ...]
    choices: tuple[str, ...]
    """The classes, shared by all examples: class k is `choices[k]`. Of a free task: the sorted distinct answers, a
    table by which the split seals them."""
    source: str
    """Where the data come from and under which licence, as the report prints it."""
    difficulty_meaning: str
    """What difficulty is measured by, as the report prints it."""
    split_uses_labels: bool = False
    """True where the difficulty was computed from the true labels of the hard side."""
    answer_form: Literal["choice", "free"] = "choice"
    """`choice`: a class of the whole prompt; `free`: a text that follows the prompt after a space."""
    verifier: Literal["text", "number"] = "text"
    """Free tasks: what of a given answer must equal the true one, the whole text or its final number."""
    unlabelled: tuple[Example, ...] = ()
    """The hard side, where it comes as questions without answers; `examples` are the easy side then."""
    test: tuple[Example, ...] = ()
    """With `unlabelled`: labelled questions of that kind, where there are any."""
    notes: tuple[str, ...] = ()
    """What of the data a user must hear before trusting a figure: rows left out, spellings merged, contradictions."""


@dataclass(frozen=True)
class AnswerTokens:
    """Prompts, each with an answer that ends in the tokenizer's end token, as token ids.

    The samples of token-level boosting are the answer tokens of all rows, end to end: row i has those from
    `offsets[i]` to `offsets[i + 1]`.
    """

    ids: tuple[tuple[int, ...], ...]
    """Prompt, answer and end token."""
    prompt_lengths: tuple[int, ...]

    @cached_property
    def read(self) -> tuple[tuple[int, ...], ...]:
        """What a model reads: all but the last token, which only has to be predicted."""
        return tuple(ids[:-1] for ids in self.ids)

    @cached_property
    def offsets(self) -> Int[Tensor, " boundaries"]:
        lengths = [len(ids) - n for ids, n in zip(self.ids, self.prompt_lengths, strict=True)]
        return torch.tensor([0, *lengths]).cumsum(0)

    @cached_property
    def targets(self) -> Int[Tensor, " tokens"]:
        """The answer tokens."""
        return torch.tensor(
            [token for ids, n in zip(self.ids, self.prompt_lengths, strict=True) for token in ids[n:]],
            dtype=torch.long,
        )

    def tokens_of(self, rows: Int[Tensor, " rows"]) -> Int[Tensor, " tokens"]:
        """Indices of these rows' answer tokens, row by row; a row that occurs twice gives them twice."""
        spans = [torch.arange(int(self.offsets[r]), int(self.offsets[r + 1])) for r in rows.tolist()]
        return torch.cat(spans) if spans else torch.zeros(0, dtype=torch.long)


@dataclass(frozen=True)
class View:
    """What of the trunk an expert reads; by default what all others do, too."""

    depth: int | None = None
    """Layers of the trunk below it; None: all of the weak model's."""
    feature_share: float | int = 1.0
    """Of the pooled feature's dimensions, which the expert's own stream draws."""

    @property
    def deciding(self) -> dict[str, int | float]:
        """For keys of the store: what differs from the default, so that older experts keep theirs."""
        return {name: value for name, value in vars(self).items() if value != getattr(View, name)}


WHOLE = View()


@dataclass(frozen=True)
class Expert:
    """One weak expert: what it owns, how it was drawn, and its one evaluation of every example of the run."""

    method: Method
    round: int
    seed: int
    """Of its own training stream."""
    state: dict[str, Tensor]
    """The trained parameters, by name; the frozen trunk is not among them."""
    log_probs: Float[Tensor, "examples classes"]
    """Over all examples of the run's data set, in its order: each expert is evaluated exactly once. In generation
    the true token's column alone, over the training rows' answer tokens."""
    sample_weights: Float[Tensor, " train"]
    """D_t, under which it was trained; sums to 1, in float64."""
    is_wrong: Bool[Tensor, " train"]
    """Its errors that entered the boosting formula: on the training rows, or on held-out folds. A sample is an
    example; in generation an answer token or a whole answer."""
    weighted_error: float
    """eps_t under D_t."""
    expert_weight: float
    """alpha_t in nats, capped; 1 for methods that do not weigh."""
    outcome: Outcome
    training_tokens: int
    """Tokens that a training without the cached trunk would have read."""
    view: View = WHOLE


@dataclass(frozen=True)
class WeakLabels:
    """What an ensemble says about unlabelled examples, and everything needed to trace it."""

    ids: tuple[str, ...]
    soft: Float[Tensor, "examples classes"]
    """The calibrated combined distribution."""
    member: Float[Tensor, "experts examples classes"]
    """Each member's own distribution."""
    confidence: Float[Tensor, " examples"]
    """The largest entry of `soft`."""
    agreement: Float[Tensor, " examples"]
    """Share of the members whose argmax is the ensemble's."""
    expert_ids: tuple[str, ...]
    expert_weights: Float[Tensor, " experts"]
    temperature: float

    @property
    def hard(self) -> Int[Tensor, " examples"]:
        """The ensemble's answer, as a class index."""
        return self.soft.argmax(-1)


def class_index(examples: Sequence[Example], choices: Sequence[str]) -> Int[Tensor, " examples"]:
    """The true class of each labelled example. Raises KeyError for an answer outside `choices`."""
    index = {choice: k for k, choice in enumerate(choices)}
    return torch.tensor([index[e.answer] for e in examples], dtype=torch.long)  # type: ignore[index]


@runtime_checkable
class Inputs(Protocol):
    """What a trainable module reads, by row: cached activations or token ids, ragged in length."""

    @property
    def lengths(self) -> Int[Tensor, " examples"]:
        """Tokens of each example's prompt: for batching by length and for logical cost."""
        ...

    def batch(self, rows: Int[Tensor, " batch"]) -> tuple[Tensor, Int[Tensor, "batch length"]]:
        """Values of these rows, right-padded, with their mask (1 = real).

        Values are float [batch, length, dim] (activations; a pooled feature has length 1) or long
        [batch, length] (token ids).
        """
        ...


@runtime_checkable
class TensorStore(Protocol):
    """Content-addressed tensors; the caller sees no path. What `get` returns may be memory-mapped."""

    def get(self, kind: str, key: str) -> dict[str, Tensor] | None: ...

    def put(self, kind: str, key: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]: ...

    def replace(self, kind: str, key: str, tensors: dict[str, Tensor]) -> None:
        """As `put`, over an older state of the same key."""
        ...

    def discard(self, kind: str, key: str) -> None: ...
