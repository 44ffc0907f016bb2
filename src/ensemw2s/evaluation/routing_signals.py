"""What an ensemble, its members and the checker say of the unlabelled items: what routing decides by."""

from dataclasses import dataclass

from ensemw2s.core.routing import RoutingSignals, Trusted


@dataclass(frozen=True)
class RoutingRecord:
    """Of one ensemble method and seed. No sealed label has a part in it."""

    seed: int
    method: str
    ids: tuple[str, ...]
    answers: tuple[str, ...]
    """The ensemble's."""
    members: tuple[tuple[str, ...], ...]
    """Item by item, each voting member's own answer."""
    checker: tuple[str, ...]
    """The answers of the strong model that learned the easy examples."""
    hard: RoutingSignals
    """Of the unlabelled items."""
    trusted: Trusted | None
    """Of easy-val; None in generation, where answers to easy-val are scored and never written out."""
