"""How ensembles grew: their rounds, where the weights went, and which weak models were taken."""

from pydantic import Field

from ensemw2s.names import Outcome
from ensemw2s.results.base import Record
from ensemw2s.training_end import TrainingEnd


class Round(Record):
    """One boosting (or bagging, or independent) round of one seed."""

    round: int
    weighted_error: float
    """eps_t: the new expert's error under D_t."""
    previous_error: float | None
    """Expert t-1's error under the same D_t; equal to `weighted_error` where training ignored the weights."""
    expert_weight: float
    """alpha_t, nats."""
    effective_sample_size: float
    """1 / sum of D_t squared."""
    outcome: Outcome
    member_accuracy: dict[str, float]
    """part to accuracy of this expert alone."""
    ensemble_accuracy: dict[str, float]
    """part to accuracy of the first t experts together."""
    training: TrainingEnd | None = None
    """How the expert's training ended; None where it was stored before this was kept."""
    member: str | None = None
    """Which of the pool's weak models the expert is; None where there is one."""
    considered: dict[str, float] = Field(default_factory=dict)
    """Where the round chose among the pool: each member's weighted error on held-out folds, or for the single expert
    its accuracy on easy-val."""


class EnsembleTrace(Record):
    """How one method's ensemble of one seed grew."""

    method: str
    seed: int
    prior_error: float
    rounds: tuple[Round, ...]
    selected: int
    """T chosen on easy-val: the first `selected` experts vote."""
    temperature: float
    error_correlation: tuple[tuple[float, ...], ...]
    """Pairwise correlation of the members' errors on the hardest test, experts x experts."""
    all_wrong: float
    """Share of the hardest test on which every member gives the same wrong answer."""


class TokenShare(Record):
    """How much of a round's weight lies on one kind of token."""

    token: str
    share: float
    uniform: float
    """Its share under equal weights."""


class TokenWeights(Record):
    """Where the weights of boosting lie in one round: the tokens that gained most against equal weights."""

    seed: int
    round: int
    tokens: tuple[TokenShare, ...]


class PoolMember(Record):
    """A weak model of a pool."""

    name: str
    what: str
    """In words."""
    accuracy: dict[str, float]
    """part to accuracy of its expert alone, trained on all easy examples alike; mean over seeds."""
    taken: dict[str, int]
    """Ensemble method to the number of its experts, of all seeds, that are this member's."""
