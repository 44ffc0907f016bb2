"""The viewer's page: the runs and leaderboards of a folder, and some of the runs side by side."""

import time
from urllib.parse import quote

from ensemw2s.meter import Count
from ensemw2s.report.page import filled
from ensemw2s.report.scale import Scale
from ensemw2s.report.table import percent, points
from ensemw2s.results import Interval, RunComparison
from ensemw2s.results.overview import Headline, Overview, RunOverview
from ensemw2s.results.progress import Work

EVERY_S = 2
"""Seconds between two looks of a page that is open."""


def viewer_page(overview: Overview) -> str:
    """The whole page, which asks for its tables anew every so often."""
    return filled("viewer.html.j2", every=EVERY_S, **_shown(overview))


def overview_tables(overview: Overview) -> str:
    """Its part that changes while runs go on."""
    return filled("viewer_tables.html.j2", **_shown(overview))


def comparison_part(comparison: RunComparison | None) -> str:
    """Some runs side by side; None: too few of those chosen are finished."""
    differences = {} if comparison is None else {pair.first: pair for pair in comparison.pairs}
    return filled(
        "viewer_comparison.html.j2", comparison=comparison, differences=differences, percent=percent, points=points
    )


def _shown(overview: Overview) -> dict[str, object]:
    intervals = [interval for run in overview.runs for interval in _intervals(run.headline)]
    return {
        "overview": overview,
        "scale": Scale.of(intervals) if intervals else None,
        "metrics": " or ".join(sorted({run.headline.metric for run in overview.runs if run.headline})),
        "doing": _doing,
        "share": _share,
        "percent": percent,
        "points": points,
        "when": _when,
        "link": _link,
    }


def _intervals(headline: Headline | None) -> list[Interval]:
    return [] if headline is None else [headline.used]


def _doing(run: RunOverview) -> str:
    """What a run works at and how far it is, as a terminal shows it."""
    if run.progress is None or not run.progress.work:
        return ""
    stage, *within = (_count(work) for work in run.progress.work)
    parts = [f"{count.what} {count.amount}".rstrip() for count in (stage, *within)]
    left = next((work.left for work in reversed(run.progress.work) if work.left is not None), None)
    if left is not None and run.state == "running":
        parts.append(f"{_duration(left)} left")
    return ", ".join(parts)


def _share(run: RunOverview) -> float | None:
    """How much of the stage is done, in percent; None where nobody knows."""
    stage = run.progress.work[0] if run.progress is not None and run.progress.work else None
    return 100 * min(stage.done / stage.total, 1.0) if stage is not None and stage.total else None


def _count(work: Work) -> Count:
    return Count(work.what, work.unit, work.total, done=work.done)


def _duration(seconds: float) -> str:
    """In the largest unit that fits."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _when(seconds: float) -> str:
    """A time on this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else ""


def _link(folder: str, file: str) -> str:
    """Where the viewer has a page of a folder."""
    return "pages/" + quote(f"{folder}/{file}".lstrip("/"))
