"""Which member of a pool of weak models makes the expert of a round: one rule for runs and for `WeakEnsemble`.

Training errors of different models do not compare: TF-IDF knows two hundred texts by heart, a head on a small model
does not. So what a pool's boosting chooses by is also what it follows: errors on held-out folds, whatever
`error_source` says.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from jaxtyping import Bool
from torch import Tensor

from ensemw2s.config import EnsembleConfig
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Spent, Weak, fit_expert, held_out_errors
from ensemw2s.ensemble.methods import make_method
from ensemw2s.records import Considered


@runtime_checkable
class PoolMember(Protocol):
    """A weak model that may make the next expert."""

    def fit(self, state: EnsembleState) -> FittedExpert:
        """Train it."""
        ...

    def held_out(self, state: EnsembleState) -> tuple[Bool[Tensor, " samples"], Spent]:
        """Which training samples its like on folds that they did not see gets wrong; and what that read."""
        ...


@dataclass(frozen=True)
class PlainMember:
    """A weak model that is trained whenever it is asked for."""

    weak: Weak
    config: EnsembleConfig

    def fit(self, state: EnsembleState) -> FittedExpert:
        return fit_expert(self.weak, state, self.config)

    def held_out(self, state: EnsembleState) -> tuple[Bool[Tensor, " samples"], Spent]:
        return held_out_errors(self.weak, state, self.config)


def follows_folds(method: str, config: EnsembleConfig, n_members: int) -> bool:
    """Whether a method follows its members' errors on held-out folds, and not on what they learned."""
    kind = make_method(method, config)
    chooses = n_members > 1 and kind.takes == "least_error"
    return chooses or (kind.needs_errors and config.error_source == "folds")


def next_expert(
    pool: Sequence[PoolMember],
    state: EnsembleState,
    config: EnsembleConfig,
    accuracy: Callable[[int, FittedExpert], float],
) -> FittedExpert:
    """The expert of the next round, with the errors that its method follows.

    Args:
        accuracy: of a member's expert on validation data, by the member's place; asked where the method chooses by it.
    """
    takes = make_method(state.method, config).takes if len(pool) > 1 else "turn"
    if takes == "most_accurate":
        return _most_accurate(pool, state, accuracy)
    place = len(state.experts) % len(pool)
    if not follows_folds(state.method, config, len(pool)):
        return replace(pool[place].fit(state), member=place)
    n_train = len(state.sample_weights)
    places = range(len(pool)) if takes == "least_error" else [place]
    judged = {p: pool[p].held_out(state) for p in places}
    errors = {p: float((state.sample_weights * is_wrong).sum()) for p, (is_wrong, _) in judged.items()}
    place = min(errors, key=errors.__getitem__)
    fitted, (is_wrong, spent) = pool[place].fit(state), judged[place]
    if len(errors) == 1:
        return replace(fitted, is_wrong=is_wrong, spent=fitted.spent + spent, member=place)
    considered = tuple(
        Considered(p, errors[p], each.tokens, each.validations, (config.n_folds - 1) * n_train, n_train)
        for p, (_, each) in judged.items()
    )
    return replace(fitted, is_wrong=is_wrong, member=place, considered=considered)


def _most_accurate(
    pool: Sequence[PoolMember], state: EnsembleState, accuracy: Callable[[int, FittedExpert], float]
) -> FittedExpert:
    """The expert that is right most often on validation data; of equals the first."""
    fitted = [member.fit(state) for member in pool]
    figures = [accuracy(place, each) for place, each in enumerate(fitted)]
    best = max(range(len(pool)), key=figures.__getitem__)
    n_train = len(state.sample_weights)
    considered = tuple(
        Considered(p, figures[p], 0, 0, 0, 0)
        if p == best
        else Considered(p, figures[p], each.spent.tokens, each.spent.validations, n_train, len(each.log_probs))
        for p, each in enumerate(fitted)
    )
    return replace(fitted[best], member=best, considered=considered)
