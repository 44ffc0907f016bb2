"""Who answers an example: the ensemble, a stronger checker, or a person (2401.06431).

    accept   trust >= t1          the ensemble's label
    check    t2 <= trust < t1     the label of the strong model that learned the easy examples
    person   trust < t2           the queue, least trusted first

A router gives the trust; t1 and t2 are selected on labelled easy validation examples alone.
"""

import math
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ROUTES = ("accept", "check", "person")


class Opinions(NamedTuple):
    """What is known of each label without knowing the truth."""

    confidence: Float[Tensor, " items"]
    """The ensemble's probability of its own answer."""
    agreement: Float[Tensor, " items"]
    """Share of the members whose own answer it is."""
    checked: Float[Tensor, " items"]
    """The checker's probability of the ensemble's answer."""


class Trusted(NamedTuple):
    """The same of labelled easy examples that neither learned, with who is right there."""

    opinions: Opinions
    right: Bool[Tensor, " items"]
    checker_right: Bool[Tensor, " items"]


class Thresholds(NamedTuple):
    """t1 and t2 on the scale of a router's trust; infinite where nothing reaches the target."""

    accept: float
    check: float


class Router(Protocol):
    """How far each label is trusted, from 0 to 1."""

    def __call__(self, opinions: Opinions) -> Float[Tensor, " items"]: ...


def by_confidence(opinions: Opinions) -> Float[Tensor, " items"]:
    """The ensemble's own confidence."""
    return opinions.confidence


def by_agreement(opinions: Opinions) -> Float[Tensor, " items"]:
    """Share of the members that agree; `queue_order` breaks its many ties by confidence."""
    return opinions.agreement


def by_disagreement(opinions: Opinions) -> Float[Tensor, " items"]:
    """The checker's probability of the ensemble's answer: where both are sure of different ones, one is wrong."""
    return opinions.checked


ROUTERS: dict[str, Router] = {
    "confidence": by_confidence,
    "agreement": by_agreement,
    "disagreement": by_disagreement,
}


def opinions_of(
    soft: Float[Tensor, "items classes"],
    member: Float[Tensor, "experts items classes"],
    own: Float[Tensor, "items classes"],
) -> Opinions:
    """From distributions over classes: the ensemble's, each member's, the checker's."""
    confidence, answer = soft.max(-1)
    agreement = (member.argmax(-1) == answer).to(soft.dtype).mean(0)
    return Opinions(confidence, agreement, own.gather(1, answer[:, None])[:, 0].to(soft.dtype))


def thresholds(
    trust: Float[Tensor, " items"],
    right: Bool[Tensor, " items"],
    checker_right: Bool[Tensor, " items"],
    *,
    target: float | int | None = None,
) -> Thresholds:
    """The widest bands whose answers are right as often as `target`, on labelled easy examples.

    t1 is the smallest trust such that the ensemble is right on at least that share of what is accepted; t2 the
    smallest such that the checker is on what lies between.

    Args:
        target: a share; None: that of all these examples on which the checker is right.
    """
    wanted = float(checker_right.double().mean()) if target is None else float(target)
    accept = _lowest_reaching(trust, right, wanted)
    below = trust < accept
    check = _lowest_reaching(trust[below], checker_right[below], wanted)
    return Thresholds(accept, min(accept, check))


def routes(trust: Float[Tensor, " items"], found: Thresholds) -> Int[Tensor, " items"]:
    """The place in ROUTES of each example."""
    return (trust < found.accept).long() + (trust < found.check).long()


def queue_order(trust: Float[Tensor, " items"], confidence: Float[Tensor, " items"]) -> Int[Tensor, " items"]:
    """Least trusted first; of equal trust the less confident, then the earlier."""
    order = confidence.argsort(stable=True)
    return order[trust[order].argsort(stable=True)]


def accuracy_by_budget(
    right: Bool[Tensor, " items"], order: Int[Tensor, " items"], budgets: Int[Tensor, " budgets"]
) -> Float[Tensor, " budgets"]:
    """Share of right labels when people answer the first n of the order truly, for every n."""
    mended = torch.cat([torch.zeros(1, dtype=torch.long), (~right[order]).long().cumsum(0)])
    return (right.sum() + mended[budgets]).double() / len(right)


def random_by_budget(right: Bool[Tensor, " items"], budgets: Int[Tensor, " budgets"]) -> Float[Tensor, " budgets"]:
    """The same, as the mean over all orders."""
    accuracy = float(right.double().mean())
    return accuracy + (1.0 - accuracy) * budgets.double() / len(right)


def _lowest_reaching(trust: Float[Tensor, " items"], right: Bool[Tensor, " items"], target: float) -> float:
    """Smallest trust such that those at or above it are right on a share of `target`; infinite where none is."""
    if not len(trust):
        return math.inf
    values, order = trust.sort(descending=True, stable=True)
    share = right[order].double().cumsum(0) / torch.arange(1, len(trust) + 1)
    # Of equal trust all are taken or none.
    is_last = torch.cat([values[:-1] != values[1:], torch.ones(1, dtype=torch.bool)])
    reached = values[is_last & (share >= target - 1e-12)]
    return float(reached[-1]) if len(reached) else math.inf
