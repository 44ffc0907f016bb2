"""How an ensemble grew, round by round, from its experts' one evaluation."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.core import metrics, sampling
from ensemw2s.ensemble.label import Ensemble
from ensemw2s.records import Expert
from ensemw2s.results import EnsembleTrace, Round


def trace(
    ensemble: Ensemble,
    val_rows: Int[Tensor, " val"],
    val_labels: Int[Tensor, " val"],
    test_rows: Mapping[str, Int[Tensor, " _"]],
    test_labels: Mapping[str, Int[Tensor, " _"]],
) -> EnsembleTrace:
    """Errors, weights and accuracies of every round; whether each expert answers to its weights.

    Errors are correlated on the last of the tests.
    """
    rows = {"easy_val": val_rows, **test_rows}
    labels = {"easy_val": val_labels, **test_labels}
    stages = {part: ensemble.stages(r) for part, r in rows.items()}
    alone = [{p: metrics.accuracy(e.log_probs[rows[p]], labels[p]) for p in rows} for e in ensemble.experts]
    together = [{p: metrics.accuracy(stages[p][t], labels[p]) for p in rows} for t in range(len(alone))]
    hardest = list(test_rows)[-1]
    answers = torch.stack([e.log_probs[rows[hardest]].argmax(-1) for e in ensemble.experts])
    truth = labels[hardest]
    correlation = metrics.error_correlation(answers != truth)
    return EnsembleTrace(
        method=ensemble.method,
        seed=ensemble.seed,
        prior_error=ensemble.prior_error,
        rounds=rounds_of(ensemble.experts, alone, together),
        selected=ensemble.selected,
        temperature=ensemble.temperature,
        error_correlation=tuple(tuple(row) for row in correlation.tolist()),
        all_wrong=metrics.all_wrong_share(answers, truth),
    )


def rounds_of(
    experts: Sequence[Expert], alone: Sequence[dict[str, float]], together: Sequence[dict[str, float]]
) -> tuple[Round, ...]:
    """The record of every round.

    Args:
        alone: of each expert, part to its accuracy.
        together: of the first t experts, part to theirs, for every t.
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
        )
        for t, (last, expert) in enumerate(zip(before, experts, strict=True))
    )
