"""Outside voters: people, rules and services that vote on some examples and abstain on others.

A voter is a channel with one number, its trust λ: with probability λ it says what it believes, otherwise anything.
A vote v, one class or a distribution over the K classes, then stands for

    d(y) = λ v(y) + (1 - λ) / K

For a vote for one class that is the one-coin model: r = λ + (1 - λ) / K on its class, where r is the voter's
reliability, and (1 - r) / (K - 1) on each other. Given the truth, votes are taken to be independent of each other and
of the models, so that the models' calibrated p and the votes are joined by Bayes' rule,

    q(y) ∝ p(y) prod_v K d_v(y)

in which a vote weighs log(r / (1 - r)) + log(K - 1) nats: SAMME's alpha of a member with error 1 - r. (A distribution
counts as if its voter had begun from equally frequent classes.) λ is the maximum of

    sum_i sum_y q_i(y) log d_i(y)    and of K further votes, of which one is right

where q_i is the truth of examples that are labelled. Votes for one class then have r = (n_right + 1) / (n + K). A voter
that voted on no labelled example is judged by the joined labels of the others it voted on: expectation maximisation,
in which those labels and the trust of such voters are found in turns. Voters that err together are believed too much.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.core.arrays import accepts_arrays
from ensemw2s.core.labels.base import Votes

_FLOOR = 1e-12
_START = 0.5
"""Trust that expectation maximisation begins with."""
_TOLERANCE = 1e-6
"""Largest change of a trust at which it has converged."""
_MAX_STEPS = 500


class OutsideVotes(NamedTuple):
    """What voters say of some examples."""

    said: Float[Tensor, "voters items classes"]
    """One-hot for a vote for one class; uniform where the voter abstains."""
    voted: Bool[Tensor, "voters items"]


class Trust(NamedTuple):
    """How far each voter is believed."""

    value: Float[Tensor, " voters"]
    """λ in [0, 1), in float64."""
    is_known: Bool[Tensor, " voters"]
    """Whether it was learned from labelled examples, and not by agreement."""

    def reliability(self, n_classes: int) -> Float[Tensor, " voters"]:
        """r: the probability that a vote for one class is right."""
        return self.value + (1.0 - self.value) / n_classes


@accepts_arrays
def learn_trust(
    votes: OutsideVotes, prior: Float[Tensor, "items classes"], easy: OutsideVotes, labels: Int[Tensor, " easy"]
) -> Trust:
    """Trust in each voter: by the labelled examples that it voted on, else by agreement on the unlabelled ones.

    Args:
        votes: on unlabelled examples.
        prior: the models' calibrated distribution of these.
        easy: the same voters' votes on labelled examples.
        labels: true classes of these.
    """
    truth = one_hot(labels, prior.shape[-1]).double()
    is_known = easy.voted.any(1)
    trust = torch.full((len(is_known),), _START, dtype=torch.float64)
    for v in is_known.nonzero()[:, 0].tolist():
        seen = easy.voted[v]
        trust[v] = _likeliest(easy.said[v, seen], truth[seen])
    has_votes = votes.voted.any(1)
    trust[~is_known & ~has_votes] = 0.0
    unknown = (~is_known & has_votes).nonzero()[:, 0].tolist()
    for _ in range(_MAX_STEPS if unknown else 0):
        q, before = joined(votes, prior, trust), trust.clone()
        for v in unknown:
            seen = votes.voted[v]
            trust[v] = _step(float(trust[v]), votes.said[v, seen], q[seen])
        if float((trust - before).abs().max()) < _TOLERANCE:
            break
    return Trust(trust, is_known)


def vote_weights(reliability: Float[Tensor, "*voters"], n_classes: int) -> Float[Tensor, "*voters"]:
    """What a vote for one class weighs against any other class, in nats; 0 where it is not above chance."""
    return ((reliability / (1.0 - reliability)).log() + math.log(n_classes - 1)).clamp_min(0.0)


@accepts_arrays
def right_votes(votes: OutsideVotes, labels: Int[Tensor, " items"]) -> Int[Tensor, " voters"]:
    """Number of each voter's votes whose likeliest class is the true one."""
    return ((votes.said.argmax(-1) == labels) & votes.voted).sum(1)


def joined(
    votes: OutsideVotes, prior: Float[Tensor, "items classes"], trust: Float[Tensor, " voters"]
) -> Float[Tensor, "items classes"]:
    """q: the models' distribution and the votes by Bayes' rule, in float64."""
    logits = prior.double().clamp_min(_FLOOR).log()
    for said, each in zip(votes.said, trust.tolist(), strict=True):
        logits += _channel(said, each).log()  # an abstention adds the same to every class
    return logits.softmax(-1)


@accepts_arrays
def with_outside(members: Votes, votes: OutsideVotes, trust: Trust) -> Votes:
    """The members' votes and the outside ones, as votes of one ensemble whose label is q.

    An outside voter's distribution is d, and its weight what its vote for one class weighs, in nats.
    """
    n_classes = members.soft.shape[-1]
    soft = joined(votes, members.soft, trust.value).to(members.soft.dtype)
    believed = zip(votes.said, trust.value.tolist(), strict=True)
    said = torch.stack([_channel(s, each).to(members.member.dtype) for s, each in believed])
    weights = vote_weights(trust.reliability(n_classes), n_classes)
    has_voted = torch.ones(members.member.shape[:2], dtype=torch.bool) if members.voted is None else members.voted
    return Votes(
        torch.cat([members.member, said]),
        torch.cat([members.weights, weights.to(members.weights.dtype)]),
        soft,
        members.classes,
        torch.cat([has_voted, votes.voted]),
    )


def _channel(said: Float[Tensor, "*items classes"], trust: float) -> Float[Tensor, "*items classes"]:
    """d, in float64."""
    return trust * said.double() + (1.0 - trust) / said.shape[-1]


def _step(trust: float, said: Float[Tensor, "votes classes"], q: Float[Tensor, "votes classes"]) -> float:
    """λ after one step: the share of votes, the K further ones among them, that were not given at random."""
    n_votes, n_classes = said.shape
    meant = trust * said.double() / _channel(said, trust)
    right = trust / (trust + (1.0 - trust) / n_classes)  # of the K further ones only the right one can be meant
    return (float((q * meant).sum()) + right) / (n_votes + n_classes)


def _likeliest(said: Float[Tensor, "votes classes"], truth: Float[Tensor, "votes classes"]) -> float:
    """The maximum, found by halving because the slope falls in λ."""
    k = said.shape[1]
    low, high = 0.0, 1.0
    for _ in range(40):
        trust = (low + high) / 2
        slope = float((truth * (said.double() - 1 / k) / _channel(said, trust)).sum())
        slope += (k - 1) / (1 + (k - 1) * trust) - (k - 1) / (1 - trust)  # of the K further votes
        low, high = (trust, high) if slope > 0 else (low, trust)
    return low
