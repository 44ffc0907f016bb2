"""Outside voters, and what they made of the labels."""

from typing import Literal

from ensemw2s.results.base import Interval, Record


class Voter(Record):
    """An outside voter; numbers of votes are means over seeds."""

    name: str
    basis: Literal["labelled examples", "agreement", "no votes"]
    """By what its reliability was learned: its votes on labelled easy examples, or its agreement with the models' and
    the other voters' labels of the unlabelled items, which is worth less where these are wrong."""
    reliability: Interval | None
    """Share of right votes: counted on labelled examples, with Wilson's interval, or estimated by agreement. None
    without votes."""
    weight: float
    """What its vote for one class weighs against any other class, in nats: 0 where it is not above chance."""
    n_easy: float
    """Votes on labelled examples."""
    n_votes: float
    """Votes on unlabelled items."""
    coverage: float
    """Share of the unlabelled items that it voted on."""
    accuracy: Interval | None
    """Share of right votes on the unlabelled items; None where nobody knows the truth."""


class Voters(Record):
    """Outside voters, and the labels of the unlabelled items that they and an ensemble came to."""

    method: str
    """The ensemble."""
    voters: tuple[Voter, ...]
    coverage: float
    """Share of the unlabelled items that any of them voted on."""
    models_right: Interval | None
    """Share of right labels by the ensemble alone; None where nobody knows the truth."""
    joined_right: Interval | None
    """The same with the voters."""
