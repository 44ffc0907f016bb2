"""Label models that count votes: the ensemble's own vote, the majority's, and the vote by alpha."""
# The libraries leave some of their types open:
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.core.labels.base import Labelled, Learn, NoStudents, Votes, everything


@dataclass(frozen=True)
class Vote(NoStudents):
    """The ensemble's own calibrated vote, as it stands."""

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        return everything(votes.soft)


@dataclass(frozen=True)
class Majority(NoStudents):
    """The share of the members whose answer is y."""

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        return everything(ballots(votes).mean(0))


@dataclass(frozen=True)
class Alpha(NoStudents):
    """The share of alpha of the members whose answer is y; all count alike where every alpha is 0."""

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        weights = votes.weights.double()
        if not bool(weights.any()):
            weights = weights + 1.0
        return everything((weights[:, None, None] * ballots(votes)).sum(0) / weights.sum())


def ballots(votes: Votes) -> Float[Tensor, "experts items classes"]:
    """One-hot answers, in float64."""
    return one_hot(votes.member.argmax(-1), votes.member.shape[-1]).double()
