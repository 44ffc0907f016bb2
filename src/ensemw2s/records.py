"""Records that pass between the stages. All are frozen, and tensors in them are never written to."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.examples import Example
from ensemw2s.names import Outcome
from ensemw2s.training_end import TrainingEnd


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
        """Token ids that a model reads: all but the last token, which is only predicted."""
        return tuple(ids[:-1] for ids in self.ids)

    @cached_property
    def offsets(self) -> Int[Tensor, " boundaries"]:
        """Position of each row's first answer token among all answer tokens, and their total number at the end."""
        lengths = [len(ids) - n for ids, n in zip(self.ids, self.prompt_lengths, strict=True)]
        return torch.tensor([0, *lengths]).cumsum(0)

    @cached_property
    def targets(self) -> Int[Tensor, " tokens"]:
        """The answer tokens of all rows, end to end."""
        return torch.tensor(
            [token for ids, n in zip(self.ids, self.prompt_lengths, strict=True) for token in ids[n:]],
            dtype=torch.long,
        )

    def behind(self, prefix: Sequence[int], n_start: int) -> "AnswerTokens":
        """The same answers where other tokens stand before the prompts.

        Args:
            prefix: with the special tokens at the start of a text.
            n_start: how many those are, which the prompts then do without.
        """
        ids = tuple((*prefix, *own[n_start:]) for own in self.ids)
        return AnswerTokens(ids, tuple(len(prefix) + n - n_start for n in self.prompt_lengths))

    def tokens_of(self, rows: Int[Tensor, " rows"]) -> Int[Tensor, " tokens"]:
        """Indices of these rows' answer tokens, row by row; a row may occur several times."""
        spans = [torch.arange(int(self.offsets[r]), int(self.offsets[r + 1])) for r in rows.tolist()]
        return torch.cat(spans) if spans else torch.zeros(0, dtype=torch.long)


@dataclass(frozen=True)
class View:
    """The part of the trunk's output that an expert reads; the default is all of it."""

    depth: int | None = None
    """Number of trunk layers below the expert; None: all layers of the weak model."""
    feature_share: float | int = 1.0
    """Share of the pooled feature's dimensions, drawn from the expert's random stream."""
    context: int | None = None
    """Number of the text, among those of the ensemble's members, that it reads before each question; None: none."""

    @property
    def deciding(self) -> dict[str, int | float]:
        """Fields that differ from the default, for store keys."""
        return {name: value for name, value in vars(self).items() if value != getattr(View, name)}


WHOLE = View()


@dataclass(frozen=True)
class Considered:
    """A member of a pool that could have made a round's expert, and what it cost to know how good it is."""

    member: int
    """Its place in the pool."""
    figure: float
    """By which the round took the least error, or the most accurate: the weighted error on held-out folds, or the
    accuracy on validation data."""
    tokens: int
    """Read in its trainings."""
    validations: int
    """Passes over the validation data in them."""
    n_learned: int
    """Examples that it learned from, of each training; 0 where that training is the expert's own."""
    n_evaluated: int
    """Examples that it was asked for."""


@dataclass(frozen=True)
class Expert:
    """One weak expert: its trained parameters, how it was made, and its predictions on every example of the run."""

    method: str
    round: int
    seed: int
    """Seed of its training."""
    state: dict[str, Tensor]
    """Trained parameters by name, without the frozen trunk."""
    log_probs: Float[Tensor, "examples classes"]
    """On all examples of the data set, in its order, from a single evaluation. In generation: of the true token alone,
    on the answer tokens of the training rows."""
    sample_weights: Float[Tensor, " train"]
    """D_t in float64, under which it was trained; sums to 1."""
    is_wrong: Bool[Tensor, " train"]
    """Errors that entered the boosting formula, on the training rows or on held-out folds. A sample is an example; in
    generation an answer token or a whole answer."""
    weighted_error: float
    """eps_t under D_t."""
    expert_weight: float
    """alpha_t in nats, capped; 1 for methods that do not weigh."""
    outcome: Outcome
    training_tokens: int
    """Number of tokens that training, also on held-out folds, would have read without the cached trunk."""
    view: View = WHOLE
    end: TrainingEnd | None = None
    """How its training ended; None where the store or the learner does not say."""
    validations: int = 0
    """Passes over the validation data in training, also on held-out folds."""
    member: int = 0
    """Which of the pool's weak models it is, by its place."""
    considered: tuple[Considered, ...] = ()
    """The pool's members among which its round chose; empty where it did not choose."""


@dataclass(frozen=True)
class WeakLabels:
    """Labels of an ensemble for unlabelled examples, with everything needed to trace them."""

    ids: tuple[str, ...]
    soft: Float[Tensor, "examples classes"]
    """Calibrated combined distribution."""
    member: Float[Tensor, "experts examples classes"]
    """Each member's own distribution."""
    confidence: Float[Tensor, " examples"]
    """Largest probability of `soft`."""
    agreement: Float[Tensor, " examples"]
    """Of the members that vote, the share whose argmax is the ensemble's."""
    expert_ids: tuple[str, ...]
    expert_weights: Float[Tensor, " experts"]
    temperature: float
    voted: Bool[Tensor, "experts examples"] | None = None
    """False where a member abstains; None where all vote on everything."""
    models: "WeakLabels | None" = None
    """The same without outside voters; None where there are none."""

    @property
    def hard(self) -> Int[Tensor, " examples"]:
        """The ensemble's class, as an index."""
        return self.soft.argmax(-1)


def class_index(examples: Sequence[Example], choices: Sequence[str]) -> Int[Tensor, " examples"]:
    """The true class of each labelled example. Raises KeyError for an answer outside `choices`."""
    index = {choice: k for k, choice in enumerate(choices)}
    return torch.tensor([index[e.answer] for e in examples], dtype=torch.long)  # type: ignore[index]


@runtime_checkable
class Inputs(Protocol):
    """Inputs of a trainable module, by row: cached activations or token ids, of ragged length."""

    @property
    def lengths(self) -> Int[Tensor, " examples"]:
        """Number of tokens of each example, for batching by length and for cost."""
        ...

    def batch(self, rows: Int[Tensor, " batch"]) -> tuple[Tensor, Int[Tensor, "batch length"]]:
        """Values of these rows, right-padded, with their mask (1 = token, 0 = padding).

        Values are float [batch, length, dim] (activations; a pooled feature has length 1) or long
        [batch, length] (token ids).
        """
        ...


@runtime_checkable
class TensorStore(Protocol):
    """A content-addressed store of tensors that shows no path. Tensors from `get` may be memory-mapped."""

    def get(self, kind: str, key: str) -> dict[str, Tensor] | None: ...

    def put(self, kind: str, key: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]: ...

    def replace(self, kind: str, key: str, tensors: dict[str, Tensor]) -> None:
        """Save tensors over an older state of the same key."""
        ...

    def discard(self, kind: str, key: str) -> None: ...
