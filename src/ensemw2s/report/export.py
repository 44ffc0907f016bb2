"""A run's figures and tables as files for papers, slides and spreadsheets: pure functions of its results."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import vl_convert

from ensemw2s.errors import ConfigError
from ensemw2s.report.charts import LIGHT, PARTS, THEME
from ensemw2s.report.figures import figures
from ensemw2s.report.table import main_lines
from ensemw2s.results import Interval, Results, Timing
from ensemw2s.text import to_cell, visible

PICTURES = ("svg", "png", "pdf")
FORMATS = (*PICTURES, "csv", "tex")
WIDTH = 480
"""Of a figure, in CSS pixels; the page's own are as wide as their place."""
PNG_SCALE = 2.0
_LATEX = {c: rf"\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", "°": r"\textdegree{}", "–": "--", "−": "$-$"}


def parse_formats(text: str) -> list[str]:
    """The formats of a list with commas between. Raises ConfigError where there is no such format."""
    wanted = [each.strip().lower() for each in text.split(",") if each.strip()]
    unknown = [each for each in wanted if each not in FORMATS]
    if unknown or not wanted:
        raise ConfigError(f"--export: there is no format {(unknown or [text])[0]!r}; choose among {', '.join(FORMATS)}")
    return list(dict.fromkeys(wanted))


def exported(results: Results, timing: Timing | None, formats: Sequence[str]) -> Iterator[tuple[str, str | bytes]]:
    """Name and content of each file: a picture of every chart, three tables as CSV, the main one as LaTeX."""
    pictures = [each for each in formats if each in PICTURES]
    if pictures:
        for name, spec in figures(results, timing).items():
            chart = standalone(spec)
            for suffix in pictures:
                yield f"{file_name(name)}.{suffix}", _picture(chart, suffix)
    if "csv" in formats:
        yield "conditions.csv", _csv(_conditions(results))
        yield "seeds.csv", _csv(_seeds(results))
        yield "comparisons.csv", _csv(_comparisons(results))
    if "tex" in formats:
        yield "conditions.tex", latex(results)


def file_name(chart: str) -> str:
    """A chart's name as that of a file: "rounds/together, OOD" is rounds-together-OOD."""
    return re.sub(r"[^A-Za-z0-9]+", "-", chart).strip("-")


def standalone(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A chart of the page as one that needs no page: of a width, in the colours of light mode, on white."""
    config = THEME | {"background": LIGHT["--paper"], "font": "sans-serif"}
    legend = THEME["legend"] | {"columns": 2}
    text = json.dumps(_sized(spec) | {"config": config | {"legend": legend}})
    return json.loads(re.sub(r"var\((--[a-z]+)\)", lambda match: LIGHT[match[1]], text))


def _sized(value: Any) -> Any:
    """With WIDTH in the place of the container's width, in every layer."""
    if isinstance(value, Mapping):
        return {k: WIDTH if (k, v) == ("width", "container") else _sized(v) for k, v in value.items()}
    return [_sized(each) for each in value] if isinstance(value, list) else value


def _picture(chart: dict[str, Any], suffix: str) -> str | bytes:
    if suffix == "svg":
        return vl_convert.vegalite_to_svg(chart)
    return vl_convert.vegalite_to_pdf(chart) if suffix == "pdf" else vl_convert.vegalite_to_png(chart, scale=PNG_SCALE)


def _conditions(results: Results) -> Iterator[Sequence[object]]:
    """One line a condition: its figures on every part, with intervals, and its cost."""
    parts = [part for part in PARTS if part in results.rows[0].parts]
    bounds = ("mean", "low", "high")
    yield [
        *("key", "condition", "kind", "recommended"),
        *(f"{part}_{bound}" for part in parts for bound in bounds),
        *("items_low", "items_high", "experts", "training_tokens", "expert_evaluations", "flops"),
    ]
    used = results.recommendation.rival or results.recommendation.row
    for row in results.rows:
        accuracy = [row.parts[part]["accuracy"].interval for part in parts]
        over_items = row.parts[results.hardest_test]["accuracy"].over_items
        yield [
            *(row.key, row.label, row.kind, int(row.key == used)),
            *(value for figure in accuracy for value in _bounds(figure)),
            *(_bounds(over_items)[1:] if over_items else ("", "")),
            "/".join(map(str, row.n_experts)),
            *(row.cost.training_tokens, row.cost.expert_evaluations, row.cost.flops),
        ]


def _seeds(results: Results) -> Iterator[Sequence[object]]:
    """One line a figure: of each condition, part, metric and seed."""
    yield "key", "condition", "part", "metric", "seed", "value"
    for row in results.rows:
        for part, metrics in row.parts.items():
            for metric, figure in metrics.items():
                for seed, value in zip(results.seeds, figure.per_seed, strict=True):
                    yield row.key, row.label, part, metric, seed, value


def _comparisons(results: Results) -> Iterator[Sequence[object]]:
    """One line a paired difference."""
    labels = {row.key: row.label for row in results.rows}
    yield "row", "baseline", "row_label", "baseline_label", "part", "mean", "low", "high", "p"
    for c in results.comparisons:
        p = "" if c.p_value is None else c.p_value
        yield c.row, c.baseline, labels[c.row], labels[c.baseline], c.part, *_bounds(c.difference), p


def _bounds(interval: Interval) -> tuple[float, float, float]:
    return interval.mean, interval.low, interval.high


def _csv(lines: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([to_cell(each) if isinstance(each, str) else each for each in line] for line in lines)
    return file.getvalue()


def latex(results: Results) -> str:
    """The rows that are compared first as a table in LaTeX, which needs the package booktabs."""
    has_ood = results.hardest_test == "ood_test"
    n = len(results.seeds)
    head = ["", "OOD", "ID", "FLOPs"] if has_ood else ["", "ID", "FLOPs"]
    rows = [
        [line.label + line.mark, *([line.ood_test] if has_ood else []), line.id_test, line.flops]
        for line in main_lines(results)
    ]
    body = [" & ".join(map(_tex, row)) + r" \\" for row in rows]
    caption = f"{results.name}: {results.metric} in percent with 95% intervals, {n} seed{'s' if n != 1 else ''}."
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _tex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in visible(text))
