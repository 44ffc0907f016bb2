"""Student losses: one number per example, never reduced here (algorithms, section 4).

With q the weak soft label, f the student's logits, s = softmax(f), u the fraction of training done:

    xent      CE(f, q)
    logconf   CE(f, (1 - c) q + c ŝ),  c = aux_coef * min(1, u / warmup_frac)    (Burns et al., 2312.09390, eq. 1)

ŝ is the student's own hardened prediction, after class biases that make its class counts those of q. The release of
2312.09390 ramps c to a tenth of aux_coef and then jumps; here the ramp is linear to its end.
"""
# The libraries leave some of their types open:
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from scipy.optimize import linprog
from scipy.sparse import coo_array
from torch import Tensor
from torch.nn.functional import one_hot


class WeakBatch(NamedTuple):
    """What weak supervision says of some examples."""

    soft: Float[Tensor, "batch classes"]
    """q: rows sum to 1; one-hot for hard or true labels."""
    member: Float[Tensor, "experts batch classes"] | None = None
    """Each expert's own distribution."""
    group: Int[Tensor, " batch"] | None = None
    """For losses over groups: the difficulty bin, for example."""


class GlobalStats(NamedTuple):
    """Statistics over the GLOBAL batch, so that 8 accumulated batches of 1 equal one of 8."""

    class_bias: Float[Tensor, " classes"] | None = None
    """Added to the student's logits before hardening."""


@runtime_checkable
class WeakToStrongLoss(Protocol):
    """A frozen dataclass per loss; its fields are its configuration."""

    @property
    def needs_stats(self) -> bool:
        """Whether `GlobalStats` must be computed."""
        ...

    def __call__(
        self,
        student_logits: Float[Tensor, "batch classes"],
        batch: WeakBatch,
        stats: GlobalStats,
        *,
        train_frac: float,
    ) -> Float[Tensor, " batch"]: ...


@dataclass(frozen=True)
class CrossEntropy:
    """CE(f, q)."""

    needs_stats: bool = False

    def __call__(
        self,
        student_logits: Float[Tensor, "batch classes"],
        batch: WeakBatch,
        stats: GlobalStats,
        *,
        train_frac: float,
    ) -> Float[Tensor, " batch"]:
        return _cross_entropy(student_logits, batch.soft)


@dataclass(frozen=True)
class LogConf:
    """Cross-entropy to a mixture of the weak label and the student's own hardened, class-balanced prediction."""

    aux_coef: float = 0.5
    warmup_frac: float = 0.2
    needs_stats: bool = True

    def __call__(
        self,
        student_logits: Float[Tensor, "batch classes"],
        batch: WeakBatch,
        stats: GlobalStats,
        *,
        train_frac: float,
    ) -> Float[Tensor, " batch"]:
        """Raises ValueError where the statistics are missing."""
        if stats.class_bias is None:
            raise ValueError("logconf hardens with the global batch's class biases; compute them with global_stats")
        ramp = 1.0 if self.warmup_frac == 0.0 else min(1.0, train_frac / self.warmup_frac)
        c = self.aux_coef * ramp
        hardened = one_hot((student_logits.detach() + stats.class_bias).argmax(-1), student_logits.shape[-1])
        return _cross_entropy(student_logits, (1.0 - c) * batch.soft + c * hardened.to(batch.soft))


LOSSES: dict[str, type[CrossEntropy] | type[LogConf]] = {"xent": CrossEntropy, "logconf": LogConf}


def global_stats(student_logits: Float[Tensor, "batch classes"], soft: Float[Tensor, "batch classes"]) -> GlobalStats:
    """Class biases with which the student's hardened predictions have the class counts of q, up to ties.

    The counts are the mean of q times the batch, rounded to integers by largest remainder. The biases are the dual
    prices of the assignment of examples to classes that has these counts and the largest total logit. At K = 2 this
    is the published rule: the examples with the largest log-odds get class 1.
    """
    logits = student_logits.detach().double()
    n, k = logits.shape
    counts = _target_counts(soft.double().mean(0), n)
    if k == 2:
        return GlobalStats(_two_class_bias(logits, int(counts[1])).to(student_logits))
    # maximise sum x_ik logit_ik with each example in one class and counts_k examples in class k: its linear programme
    # has an integral solution, and the prices of the class constraints are the biases.
    rows = torch.arange(n).repeat_interleave(k)
    columns = torch.arange(n * k)
    classes = torch.arange(k).repeat(n) + n
    entries = (torch.cat([rows, classes]).numpy(), torch.cat([columns, columns]).numpy())
    constraints = coo_array(([1.0] * (2 * n * k), entries), shape=(n + k, n * k))
    totals = torch.cat([torch.ones(n, dtype=torch.float64), counts.double()]).numpy()
    found = linprog(-logits.flatten().numpy(), A_eq=constraints.tocsr(), b_eq=totals, method="highs")
    prices = torch.from_numpy(found.eqlin.marginals[n:].copy())
    return GlobalStats(prices.to(student_logits))


def _two_class_bias(logits: Float[Tensor, "batch 2"], n_ones: int) -> Float[Tensor, "2"]:
    """Bias halfway between the log-odds that just get class 1 and those that just do not."""
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


def _cross_entropy(
    logits: Float[Tensor, "batch classes"], target: Float[Tensor, "batch classes"]
) -> Float[Tensor, " batch"]:
    return -(target * logits.log_softmax(-1)).sum(-1)
