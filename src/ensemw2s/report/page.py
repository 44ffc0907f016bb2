"""One self-contained HTML page of a run: readable offline, in light and dark, and at phone width."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ensemw2s.names import BOOSTING
from ensemw2s.report.figures import PARTS, figures
from ensemw2s.report.table import KINDS, distances, leaderboard, percent, points, short
from ensemw2s.results import Interval, Results, Timing
from ensemw2s.storage.files import write_atomic
from ensemw2s.text import visible

_KEPT = "\n\t"
_BUNDLE = "window.vegaEmbed = vegaEmbed;"


def render(results: Results, timing: Timing | None) -> str:
    """The whole page as text; it loads nothing from anywhere."""
    charts = figures(results, timing)
    lines = leaderboard(results)
    low = min(line.hardest.low for line in lines)
    high = max(line.hardest.high for line in lines)
    return page(
        "page.html.j2",
        charts,
        r=results,
        timing=timing,
        lines=lines,
        kinds=KINDS,
        test=PARTS[results.hardest_test],
        uneven=any(line.balanced for line in lines),
        bar=lambda interval: bar(interval, low, high),
        gains=distances(results),
        labels={row.key: row.label for row in results.rows},
        sampled=_sampled(results),
        wrong=_all_wrong(results),
        prior=_prior(results),
        undefined=_undefined(results),
        panels=lambda section: [name for name in charts if name.split("/")[0] == section],
        percent=percent,
        points=points,
        short=short,
        config=yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True),
    )


def write_report(results: Results, timing: Timing | None, path: Path) -> None:
    """Write the page whole or not at all. Raises RunError when the disk refuses."""
    write_atomic(path, render(results, timing))


def bar(interval: Interval, low: float, high: float) -> Markup:
    """An interval as a line and a dot, on the scale that the whole table shares."""
    span = (high - low) or 1.0
    a, m, b = (round(2 + 96 * (v - low) / span, 1) for v in (interval.low, interval.mean, interval.high))
    return Markup(
        f'<svg class="bar" viewBox="0 0 100 10" aria-hidden="true"><line x1="{a}" x2="{b}" y1="5" y2="5"/>'
        f'<circle cx="{m}" cy="5" r="2.6"/></svg>'
    )


def _all_wrong(results: Results) -> list[tuple[str, float]]:
    """Per method, the mean share of the hardest test on which every member gives the same wrong answer."""
    methods = dict.fromkeys(e.method for e in results.ensembles if len(e.rounds) > 1)
    shares = {m: [e.all_wrong for e in results.ensembles if e.method == m] for m in methods}
    return [(m, sum(v) / len(v)) for m, v in shares.items()]


def _sampled(results: Results) -> str:
    """Whose answers are shown as samples."""
    methods = [e.method for e in results.ensembles]
    shown = BOOSTING if BOOSTING in methods else next(iter(methods), "")
    return next((row.label for row in results.rows if row.key == shown), shown)


def _prior(results: Results) -> float | None:
    """Boosting's prior error, mean over seeds."""
    found = [e.prior_error for e in results.ensembles if e.method == BOOSTING]
    return sum(found) / len(found) if found else None


def _undefined(results: Results) -> dict[str, list[str]]:
    """Why a PGR is undefined, to the labels of its rows: most often one reason serves them all."""
    reasons: dict[str, list[str]] = {}
    for pgr in results.pgr:
        if pgr.value is None:
            reasons.setdefault(pgr.reason, []).append(results.row(pgr.row).label)
    return reasons


def _finalized(value: Any) -> Any:
    """What a page shows of a value; new lines and tabs stay, and a browser obeys nothing else of it."""
    return visible(value, keep=_KEPT) if isinstance(value, str) and not isinstance(value, Markup) else value


def _harmless(value: Any) -> Any:
    """The same for all texts of a chart."""
    if isinstance(value, dict):
        return {_harmless(key): _harmless(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_harmless(each) for each in value]
    return _finalized(value)


def _embedded(charts: dict[str, Any]) -> Markup:
    """JSON that a script element can hold: no text in it can end the element."""
    text = json.dumps(_harmless(charts), ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


@cache
def _bundle() -> str:
    return vl_convert.javascript_bundle(_BUNDLE).replace("</script", "<\\/script")


def page(template: str, charts: dict[str, Any], **shown: Any) -> str:
    """A page that loads nothing from anywhere: the template with its charts' data and the library that draws them."""
    environment = Environment(
        loader=PackageLoader("ensemw2s.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(specs=_embedded(charts), bundle=Markup(_bundle()), **shown)
