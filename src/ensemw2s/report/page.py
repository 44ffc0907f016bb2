"""The report of a run: one self-contained HTML page, readable offline, in light and dark mode and on a phone."""

import json
from functools import cache
from pathlib import Path
from statistics import stdev
from typing import Any

import vl_convert
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ensemw2s.names import BOOSTING
from ensemw2s.pictures import at_short_names
from ensemw2s.report.charts import FEWEST, PARTS, THEME, colour_of, names_of
from ensemw2s.report.class_figures import measures, used_confusion
from ensemw2s.report.figures import figures
from ensemw2s.report.glossary import GLOSSARY
from ensemw2s.report.overview import ENOUGH_SEEDS, next_steps, tiles
from ensemw2s.report.scale import Scale
from ensemw2s.report.table import KINDS, distances, leaderboard, main_lines, percent, points, seed_range, short
from ensemw2s.report.trainings import MEANING, training_lines
from ensemw2s.results import Figure, Item, Mending, Results, Robustness, Row, Timing
from ensemw2s.results.conditions import SELF, STRONG_ON_EASY
from ensemw2s.results.picks import main_rows
from ensemw2s.storage.files import write_atomic
from ensemw2s.text import visible

_KEPT = "\n\t"
_BUNDLE = "window.vegaEmbed = vegaEmbed;"


def render(results: Results, timing: Timing | None, *, folder: str | None = None) -> str:
    """The report as HTML that loads nothing from outside.

    Args:
        folder: the run's, as it stands in commands; by default runs/NAME.
    """
    charts = figures(results, timing)
    lines = leaderboard(results)
    names = names_of(results, [row.key for row in results.rows])
    return page(
        "page.html.j2",
        charts,
        r=results,
        timing=timing,
        lines=lines,
        main=main_lines(results),
        main_rows=main_rows(results),
        tiles=tiles(results),
        steps=next_steps(results, folder or f"runs/{results.name}"),
        enough_seeds=ENOUGH_SEEDS,
        fewest=FEWEST,
        kinds=KINDS,
        parts=PARTS,
        test=PARTS[results.hardest_test],
        trainings=training_lines(results),
        meaning=MEANING,
        uneven=any(line.balanced for line in lines),
        scale=Scale.of([line.hardest for line in lines]),
        gains=distances(results),
        labels={row.key: row.label for row in results.rows},
        names=names,
        mending=_by_val(results),
        teachers={curve.teacher: _teacher(results, curve.teacher) for curve in results.best_of_n},
        sturdy=_sturdy(results),
        measures=measures(results),
        colours={row.key: colour_of(row.condition) for row in results.rows},
        sampled=_sampled(results),
        wrong=_all_wrong(results),
        prior=_prior(results),
        undefined=_undefined(results),
        sizes_of_ensemble=_sizes_of_ensemble(results),
        sd=_deviation,
        strip_item=_strip_item(results),
        confused=used_confusion(results) if results.confusion else None,
        items=_embedded(results.items.model_dump() | {"thumbnails": results.thumbnails}) if results.items else None,
        at_pictures=at_short_names,
        panels=lambda section: [name for name in charts if name.split("/")[0] == section],
        percent=percent,
        points=points,
        seed_range=seed_range,
        short=short,
        config=yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True),
    )


def write_report(results: Results, timing: Timing | None, path: Path) -> None:
    """Write the report whole or not at all. Raises RunError where it cannot be written."""
    write_atomic(path, render(results, timing, folder=str(path.parent)))


def _by_val(results: Results) -> list[Mending]:
    """Students whose labels' truth is known, those first that are best on easy-val."""
    return sorted(results.mending, key=lambda m: -results.row(m.row).parts["easy_val"]["accuracy"].interval.mean)


def _teacher(results: Results, teacher: str) -> str:
    """Label of the row whose answers are chosen among."""
    return results.row(STRONG_ON_EASY.key if teacher == SELF else teacher).label


def _sturdy(results: Results) -> list[tuple[Row, dict[str, Robustness]]]:
    """Every row with what it is worth on the hardest test under each perturbation, the rows first that a reader
    compares first."""
    found: dict[str, dict[str, Robustness]] = {}
    for one in results.robustness:
        if one.part == results.hardest_test:
            found.setdefault(one.row, {})[one.perturbation] = one
    main = {row.key for _, row in main_rows(results)}
    return [(results.row(key), found[key]) for key in sorted(found, key=lambda key: key not in main)]


def _strip_item(results: Results) -> Item | None:
    """An unlabelled item to explain the experiment by: one on which members disagree, and the label is right."""
    items = results.items.items if results.items else ()
    return min(items, key=lambda item: ("disagree" not in item.kinds, item.is_right is False), default=None)


def _sizes_of_ensemble(results: Results) -> str:
    """How many experts vote: from the least to the most, over methods and seeds."""
    sizes = [e.selected for e in results.ensembles]
    if not sizes:
        return "several"
    return str(min(sizes)) if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"


def _deviation(figure: Figure) -> str:
    """Standard deviation over the seeds, in points."""
    return f"{100 * stdev(figure.per_seed):.1f}" if len(figure.per_seed) > 1 else "–"


def _all_wrong(results: Results) -> list[tuple[str, float]]:
    """For each method, the mean share of the hardest test on which all members give the same wrong answer."""
    methods = dict.fromkeys(e.method for e in results.ensembles if len(e.rounds) > 1)
    shares = {m: [e.all_wrong for e in results.ensembles if e.method == m] for m in methods}
    return [(m, sum(v) / len(v)) for m, v in shares.items()]


def _sampled(results: Results) -> str:
    """Label of the method whose answers are shown as samples."""
    methods = [e.method for e in results.ensembles]
    shown = BOOSTING if BOOSTING in methods else next(iter(methods), "")
    return next((row.label for row in results.rows if row.key == shown), shown)


def _prior(results: Results) -> float | None:
    """Mean prior error of boosting over seeds."""
    priors = [e.prior_error for e in results.ensembles if e.method == BOOSTING]
    return sum(priors) / len(priors) if priors else None


def _undefined(results: Results) -> dict[str, list[str]]:
    """Labels of the rows whose PGR is undefined, by reason, which most often is one for all."""
    reasons: dict[str, list[str]] = {}
    for pgr in results.pgr:
        if pgr.value is None:
            reasons.setdefault(pgr.reason, []).append(results.row(pgr.row).label)
    return reasons


def _finalized(value: Any) -> Any:
    """A value as the page shows it: control characters but new lines and tabs are escaped."""
    return visible(value, keep=_KEPT) if isinstance(value, str) and not isinstance(value, Markup) else value


def _harmless(value: Any) -> Any:
    """`_finalized` applied to all texts of a chart."""
    if isinstance(value, dict):
        return {_harmless(key): _harmless(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_harmless(each) for each in value]
    return _finalized(value)


def _embedded(data: Any) -> Markup:
    """JSON inside a script element, with characters escaped that could end the element."""
    text = json.dumps(_harmless(data), ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


@cache
def _bundle() -> str:
    return vl_convert.javascript_bundle(_BUNDLE).replace("</script", "<\\/script")


def page(template: str, charts: dict[str, Any], **shown: Any) -> str:
    """A page that loads nothing from outside: the template with the charts' data and the library that draws them."""
    embedded = {"specs": _embedded(charts), "theme": _embedded(THEME), "bundle": Markup(_bundle())}
    return filled(template, **embedded, **shown)


def filled(template: str, **shown: Any) -> str:
    """A template with what it shows, all of which is escaped."""
    return _environment().get_template(template).render(**shown)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ensemw2s.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["glossary"] = GLOSSARY
    return environment
