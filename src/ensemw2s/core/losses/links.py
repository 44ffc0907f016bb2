"""Links: how a student's logits f become log-probabilities. The loss it was trained with decides which link is used.

softmax             p = softmax(f)
dirichlet-relu      p = a / sum a,  a = 1 + relu(f): the mean of a Dirichlet distribution               (2406.03199)
dirichlet-softplus  the same with a = 1 + softplus(f), whose gradient is nowhere 0
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu, softplus

SOFTMAX = "softmax"


class Link(NamedTuple):
    """A function from logits to log-probabilities."""

    formula: str
    """In plain text, for the model card of an exported student."""
    log_probs: Callable[[Tensor], Tensor]
    """[..., classes] -> [..., classes], whose exponentials sum to 1."""


EVIDENCE: dict[str, Callable[[Tensor], Tensor]] = {"relu": relu, "softplus": softplus}
"""Evidence for each class, as a function of its logit; the Dirichlet parameter is 1 plus the evidence."""


def concentration(logits: Float[Tensor, "*batch classes"], evidence: str) -> Float[Tensor, "*batch classes"]:
    """a, the parameters of a Dirichlet distribution over the classes; none is below 1."""
    return EVIDENCE[evidence](logits) + 1.0


def _dirichlet(evidence: str) -> Link:
    def log_probs(logits: Tensor) -> Tensor:
        a = concentration(logits, evidence)
        return a.log() - a.sum(-1, keepdim=True).log()

    return Link(f"a / sum(a) with a = 1 + {evidence}(logits), not their softmax", log_probs)


LINKS: dict[str, Link] = {
    SOFTMAX: Link("the softmax of the logits", lambda logits: logits.log_softmax(-1)),
    **{f"dirichlet-{name}": _dirichlet(name) for name in EVIDENCE},
}
