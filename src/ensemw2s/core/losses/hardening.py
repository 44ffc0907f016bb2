"""Hardening of the student's predictions with the class counts of the weak labels (2312.09390, appendix A.4)."""

import torch
from jaxtyping import Float, Int
from scipy.optimize import linprog
from scipy.sparse import coo_array
from torch import Tensor

from ensemw2s.core.losses.base import GlobalStats


def global_stats(student_logits: Float[Tensor, "batch classes"], soft: Float[Tensor, "batch classes"]) -> GlobalStats:
    """Class biases with which the student's hardened predictions have the class counts of q, up to ties.

    The counts are the mean of q times the batch, rounded to integers by largest remainder. The biases are those of
    the assignment of examples to classes that has these counts and the largest total logit. At K = 2 this
    is the published rule: the examples with the largest log-odds get class 1.
    """
    logits = student_logits.detach().double()
    n, k = logits.shape
    counts = _target_counts(soft.double().mean(0), n)
    if k == 2:
        return GlobalStats(_two_class_bias(logits, int(counts[1])).to(student_logits))
    # maximise sum x_ik logit_ik with each example in one class and counts_k examples in class k: a linear programme
    # whose solution is integral.
    rows = torch.arange(n).repeat_interleave(k)
    columns = torch.arange(n * k)
    classes = torch.arange(k).repeat(n) + n
    entries = (torch.cat([rows, classes]).numpy(), torch.cat([columns, columns]).numpy())
    constraints = coo_array(([1.0] * (2 * n * k), entries), shape=(n + k, n * k))
    totals = torch.cat([torch.ones(n, dtype=torch.float64), counts.double()]).numpy()
    solution = linprog(-logits.flatten().numpy(), A_eq=constraints.tocsr(), b_eq=totals, method="highs")
    chosen = torch.from_numpy(solution.x).view(n, k).argmax(-1)
    return GlobalStats(_separating_bias(logits, chosen).to(student_logits))


def _separating_bias(
    logits: Float[Tensor, "batch classes"], chosen: Int[Tensor, " batch"]
) -> Float[Tensor, " classes"]:
    """Class biases with the widest margin among those under which each example's chosen class is its argmax.

    The linear programme's dual prices lie on the edge of that set, where rounding breaks ties.
    The margin is at most 1, which keeps the bias of a class without examples finite.
    """
    k = logits.shape[1]
    gap = logits.gather(1, chosen[:, None]) - logits  # [batch, classes]
    rows: list[list[float]] = []
    limits: list[float] = []
    for a in chosen.unique().tolist():
        least = gap[chosen == a].amin(0)
        for other in range(k):
            if other == a:
                continue
            row = [0.0] * (k + 1)  # bias_other - bias_a + margin <= the least gap
            row[other], row[a], row[k] = 1.0, -1.0, 1.0
            rows.append(row)
            limits.append(float(least[other]))
    reach = k * (2.0 * float(logits.abs().max()) + 1.0)
    bounds = [(-reach, reach)] * k + [(-reach, 1.0)]
    bounds[int(chosen[0])] = (0.0, 0.0)  # biases are free up to a constant
    solution = linprog([0.0] * k + [-1.0], A_ub=rows, b_ub=limits, bounds=bounds, method="highs")
    return torch.tensor(solution.x[:k], dtype=torch.float64)


def _two_class_bias(logits: Float[Tensor, "batch 2"], n_ones: int) -> Float[Tensor, "2"]:
    """Bias halfway between the smallest log-odds that get class 1 and the largest that do not."""
    odds = (logits[:, 1] - logits[:, 0]).sort(descending=True).values
    if n_ones == 0:
        threshold = odds[0] + 1.0
    elif n_ones == len(odds):
        threshold = odds[-1] - 1.0
    else:
        threshold = (odds[n_ones - 1] + odds[n_ones]) / 2
    return torch.stack([torch.zeros_like(threshold), -threshold])


def _target_counts(share: Float[Tensor, " classes"], n: int) -> Int[Tensor, " classes"]:
    exact = share / share.sum() * n
    counts = exact.floor()
    left = n - int(counts.sum())
    counts[(exact - counts).argsort(descending=True, stable=True)[:left]] += 1
    return counts.long()
