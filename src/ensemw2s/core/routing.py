"""Routing of examples to the ensemble, a stronger checker, or a person (2401.06431).

    accept   trust >= t1          the ensemble's label
    check    t2 <= trust < t1     the label of the strong model trained on the easy examples (the checker)
    person   trust < t2           the queue, least trusted first

A router gives the trust. t1 and t2 are chosen on labelled easy validation examples alone.
"""

import math
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.core.labels.base import agreement

ROUTES = ("accept", "check", "person")


class RoutingSignals(NamedTuple):
    """Signals about each label that do not need the truth."""

    confidence: Float[Tensor, " items"]
    """The ensemble's probability of its own answer."""
    agreement: Float[Tensor, " items"]
    """Share of the members that give the ensemble's answer."""
    checked: Float[Tensor, " items"]
    """The checker's probability of the ensemble's answer."""


class Trusted(NamedTuple):
    """Signals on labelled easy examples that neither model was trained on, with the correctness of both."""

    signals: RoutingSignals
    right: Bool[Tensor, " items"]
    checker_right: Bool[Tensor, " items"]


class Thresholds(NamedTuple):
    """t1 and t2 on the scale of a router's trust; infinite where no threshold reaches the target."""

    accept: float
    check: float


class Router(Protocol):
    """Trust in each label, from 0 to 1."""

    def __call__(self, signals: RoutingSignals) -> Float[Tensor, " items"]: ...


def by_confidence(signals: RoutingSignals) -> Float[Tensor, " items"]:
    """Trust by the ensemble's confidence."""
    return signals.confidence


def by_agreement(signals: RoutingSignals) -> Float[Tensor, " items"]:
    """Trust by the share of members that agree; `queue_order` breaks its many ties by confidence."""
    return signals.agreement


def by_disagreement(signals: RoutingSignals) -> Float[Tensor, " items"]:
    """Trust by the checker's probability of the ensemble's answer."""
    return signals.checked


ROUTERS: dict[str, Router] = {
    "confidence": by_confidence,
    "agreement": by_agreement,
    "disagreement": by_disagreement,
}


def signals_of(
    soft: Float[Tensor, "items classes"],
    member: Float[Tensor, "experts items classes"],
    own: Float[Tensor, "items classes"],
    voted: Bool[Tensor, "experts items"] | None = None,
) -> RoutingSignals:
    """Routing signals from the class probabilities of the ensemble, of each member and of the checker.

    Args:
        voted: False where a member abstains; None where all vote on everything.
    """
    confidence, answer = soft.max(-1)
    agrees = agreement(member, answer, voted).to(soft.dtype)
    return RoutingSignals(confidence, agrees, own.gather(1, answer[:, None])[:, 0].to(soft.dtype))


def thresholds(
    trust: Float[Tensor, " items"],
    right: Bool[Tensor, " items"],
    checker_right: Bool[Tensor, " items"],
    *,
    target: float | int | None = None,
) -> Thresholds:
    """The widest bands that reach an accuracy of `target` on labelled easy examples.

    t1 is the smallest trust at which the ensemble is right on at least that share of the accepted examples. t2 is the
    smallest at which the checker is right on at least that share of those between t2 and t1.

    Args:
        target: accuracy from 0 to 1; None takes the checker's accuracy on all these examples.
    """
    wanted = float(checker_right.double().mean()) if target is None else float(target)
    accept = _lowest_reaching(trust, right, wanted)
    below = trust < accept
    check = _lowest_reaching(trust[below], checker_right[below], wanted)
    return Thresholds(accept, min(accept, check))


def routes(trust: Float[Tensor, " items"], limits: Thresholds) -> Int[Tensor, " items"]:
    """Index into ROUTES of each example's route."""
    return (trust < limits.accept).long() + (trust < limits.check).long()


def queue_order(trust: Float[Tensor, " items"], confidence: Float[Tensor, " items"]) -> Int[Tensor, " items"]:
    """Order of the queue: least trusted first; ties by lower confidence, then by position."""
    order = confidence.argsort(stable=True)
    return order[trust[order].argsort(stable=True)]


def accuracy_by_budget(
    right: Bool[Tensor, " items"], order: Int[Tensor, " items"], budgets: Int[Tensor, " budgets"]
) -> Float[Tensor, " budgets"]:
    """Accuracy of the labels after people have corrected the first n items of the order, for every budget n."""
    corrected = torch.cat([torch.zeros(1, dtype=torch.long), (~right[order]).long().cumsum(0)])
    return (right.sum() + corrected[budgets]).double() / len(right)


def random_by_budget(right: Bool[Tensor, " items"], budgets: Int[Tensor, " budgets"]) -> Float[Tensor, " budgets"]:
    """Accuracy by budget for a random order, as the mean over all orders."""
    accuracy = float(right.double().mean())
    return accuracy + (1.0 - accuracy) * budgets.double() / len(right)


def _lowest_reaching(trust: Float[Tensor, " items"], right: Bool[Tensor, " items"], target: float) -> float:
    """Smallest trust at or above which an accuracy of `target` is reached; infinite where there is none."""
    if not len(trust):
        return math.inf
    values, order = trust.sort(descending=True, stable=True)
    share = right[order].double().cumsum(0) / torch.arange(1, len(trust) + 1)
    # Of equal trust all are taken or none.
    is_last = torch.cat([values[:-1] != values[1:], torch.ones(1, dtype=torch.bool)])
    reached = values[is_last & (share >= target - 1e-12)]
    return float(reached[-1]) if len(reached) else math.inf
