"""How an ensemble grew, round by round, from its experts' one evaluation."""

from collections.abc import Sequence

from ensemw2s.core import metrics, sampling
from ensemw2s.evaluation.scored import GrownEnsemble
from ensemw2s.records import Expert
from ensemw2s.results import EnsembleTrace, Round


def trace(ensemble: GrownEnsemble, seed: int, hardest: str, pool: Sequence[str]) -> EnsembleTrace:
    """Errors, weights and accuracies of every round; how the members' errors correlate on the hardest test.

    Args:
        pool: names of the weak models.
    """
    wrong = ~ensemble.parts[hardest].member
    n = range(len(ensemble.experts))
    alone = [{p: float(g.member[t].double().mean()) for p, g in ensemble.parts.items()} for t in n]
    together = [{p: float(g.together[t].double().mean()) for p, g in ensemble.parts.items()} for t in n]
    return EnsembleTrace(
        method=ensemble.method,
        seed=seed,
        prior_error=ensemble.prior_error,
        rounds=_rounds(ensemble.experts, alone, together, pool),
        selected=ensemble.selected,
        temperature=ensemble.temperature,
        error_correlation=tuple(tuple(row) for row in metrics.error_correlation(wrong).tolist()),
        all_wrong=ensemble.parts[hardest].all_wrong,
    )


def _rounds(
    experts: Sequence[Expert],
    alone: Sequence[dict[str, float]],
    together: Sequence[dict[str, float]],
    pool: Sequence[str],
) -> tuple[Round, ...]:
    """The record of every round.

    Args:
        alone: of each expert, part to its accuracy.
        together: of the first t experts, part to their accuracy, for every t.
    """
    before = [None, *experts[:-1]]
    return tuple(
        Round(
            round=t,
            weighted_error=expert.weighted_error,
            previous_error=None if last is None else float((expert.sample_weights * last.is_wrong).sum()),
            expert_weight=expert.expert_weight,
            effective_sample_size=sampling.effective_sample_size(expert.sample_weights),
            outcome=expert.outcome,
            member_accuracy=alone[t],
            ensemble_accuracy=together[t],
            training=expert.end,
            member=pool[expert.member] if len(pool) > 1 else None,
            considered={pool[each.member]: each.figure for each in expert.considered},
        )
        for t, (last, expert) in enumerate(zip(before, experts, strict=True))
    )
