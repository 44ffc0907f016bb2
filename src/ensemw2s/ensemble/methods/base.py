"""What an ensemble method is: what each member learns from and reads, and what its errors mean."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.core import sampling
from ensemw2s.core.boosting import BoostRound
from ensemw2s.core.seeds import stream
from ensemw2s.records import WHOLE, View


@dataclass(frozen=True)
class Samples:
    """The training samples that a member may learn from."""

    weights: Float[Tensor, " samples"]
    """D_t of these samples, float64; it need not sum to 1."""
    n_examples: int
    are_examples: bool = True
    """False where boosting weighs the tokens of an answer, or answers as a whole (generation): a sample is then
    repeated by its weight, and not as a row."""

    @property
    def share(self) -> Float[Tensor, " samples"]:
        """D_t, normalised to sum 1."""
        return self.weights / self.weights.sum()

    @property
    def all_examples(self) -> Int[Tensor, " examples"]:
        return torch.arange(self.n_examples)

    def bootstrap(self, seed: int) -> Int[Tensor, " examples"]:
        """Examples drawn with replacement."""
        # Answers have a stream of their own, because their tokens may be drawn in the same round.
        return sampling.bootstrap(self.n_examples, stream(seed, "draw" if self.are_examples else "bootstrap"))

    def uniform(self, rows: Int[Tensor, " drawn"]) -> "Draw":
        """These examples, all samples counting alike."""
        return Draw(rows, torch.ones(len(self.weights)))


@dataclass(frozen=True)
class Draw:
    """What one member learns from."""

    rows: Int[Tensor, " drawn"]
    """Positions among the examples; one that is drawn twice is learned twice."""
    weights: Float[Tensor, " samples"]
    """How much each sample counts; mean 1."""

    @property
    def is_even(self) -> bool:
        """Whether all samples count alike."""
        return bool((self.weights == 1.0).all())


Takes = Literal["turn", "least_error", "most_accurate"]
"""Which member of a pool makes a round's expert: the one whose turn it is, the one of the least weighted error on
held-out folds of the training examples, or the one that is right most often on validation data."""


@runtime_checkable
class EnsembleMethod(Protocol):
    """What an ensemble method has; `EqualVotes` gives all of it but the label."""

    label: ClassVar[str]
    """What tables call the ensemble, such as "boosted ensemble"."""
    needs_errors: ClassVar[bool]
    """Whether `update` uses the members' errors: only then are held-out folds trained for them."""
    needs_pooled_head: ClassVar[bool]
    """Whether its views need one pooled feature per example, as `weak.adapter: head` has."""
    reads_contexts: ClassVar[bool]
    """Whether its members read a text of their own before each question (`ensemble.context`)."""
    learns: ClassVar[bool]
    """Whether its members are trained; others are the pretrained model itself, which is asked for its likelihood of the
    choices."""
    stream: ClassVar[str | None]
    """Purpose of its members' random streams; None is the method's own name. Members of equal stream, view and draw
    are one artifact."""
    takes: ClassVar[Takes]
    """Which member of a pool of weak models makes a round's expert."""
    shares_first: ClassVar[bool]
    """Whether its first member learns from all examples alike, and so is the same as every such method's."""

    def n_members(self, n_rounds: int) -> int:
        """Members of an ensemble of `n_rounds` rounds."""
        ...

    def draw(self, samples: Samples, round_index: int, seed: int) -> Draw:
        """What the member of this round learns from.

        Args:
            round_index: from 0.
            seed: of the member's own stream.
        """
        ...

    def view(self, n_layers: int, round_index: int, seed: int) -> View:
        """What the member of this round reads of a model of `n_layers` layers.

        Args:
            seed: of the run.
        """
        ...

    def update(
        self, is_wrong: Bool[Tensor, " samples"], sample_weights: Float[Tensor, " samples"], prior_error: float
    ) -> BoostRound:
        """The member's error, its weight in the vote, and the sample weights of the next round.

        Args:
            is_wrong: whether the member errs on each training sample.
            sample_weights: D_t, sums to 1.
            prior_error: error of a reference that knows nothing of the task.
        """
        ...


class EqualVotes:
    """A method whose members learn from all examples, read everything and have one vote each."""

    needs_errors: ClassVar[bool] = False
    needs_pooled_head: ClassVar[bool] = False
    reads_contexts: ClassVar[bool] = False
    learns: ClassVar[bool] = True
    stream: ClassVar[str | None] = None
    takes: ClassVar[Takes] = "turn"
    shares_first: ClassVar[bool] = True

    def n_members(self, n_rounds: int) -> int:
        return n_rounds

    def draw(self, samples: Samples, round_index: int, seed: int) -> Draw:
        return samples.uniform(samples.all_examples)

    def view(self, n_layers: int, round_index: int, seed: int) -> View:
        return WHOLE

    def update(
        self, is_wrong: Bool[Tensor, " samples"], sample_weights: Float[Tensor, " samples"], prior_error: float
    ) -> BoostRound:
        return BoostRound(float((sample_weights * is_wrong).sum()), 1.0, sample_weights, "continue")
