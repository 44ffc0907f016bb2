"""What `ensemw2s view` finds in a folder."""

from typing import Literal

from ensemw2s.results.base import Interval, Record
from ensemw2s.results.progress import Progress

RunState = Literal["running", "finished", "interrupted", "failed", "damaged"]


class Headline(Record):
    """Main figures of a finished run, on the test that it is judged by."""

    verdict: str
    metric: str
    is_ood: bool
    label: str
    """Of the row to use."""
    used: Interval
    on_easy: Interval | None
    ceiling: Interval | None
    has_report: bool


class RunOverview(Record):
    """One run folder: what its records say, and whether its lock is held."""

    folder: str
    """Below the folder that is looked at; empty where it is that folder itself."""
    name: str
    task: str
    """Empty where the run does not say, as its seeds."""
    seeds: tuple[int, ...]
    state: RunState
    message: str = ""
    """Why it failed, or what is damaged."""
    time: float
    """Of its last event, in seconds since 1970."""
    progress: Progress | None = None
    """How far it is, or was when it was interrupted; None where it has not said so, or is finished."""
    headline: Headline | None = None


class BoardOverview(Record):
    """One leaderboard's folder."""

    folder: str
    """As a run's."""
    is_running: bool
    n_methods: int
    tasks: tuple[str, ...]
    best: str
    """The method with the best mean gain."""
    gain: Interval | None
    """Its gain."""
    has_page: bool
    message: str = ""
    """What is damaged."""


class Overview(Record):
    """Every run and every leaderboard below a folder."""

    folder: str
    runs: tuple[RunOverview, ...]
    """Those under way first, then the latest."""
    leaderboards: tuple[BoardOverview, ...]
    is_cut: bool = False
    """Whether there are more folders than are looked at."""
