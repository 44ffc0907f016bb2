"""Figures and tables as files."""

import csv
import io
import re

import pytest

from ensemw2s.errors import ConfigError
from ensemw2s.report.export import exported, latex, parse_formats
from ensemw2s.report.figures import figures


def rows_of(content: str | bytes) -> list[dict[str, str]]:
    assert isinstance(content, str)
    return list(csv.DictReader(io.StringIO(content)))


@pytest.fixture
def few(results):
    """Without what is drawn round by round: pictures take their time."""
    return results.model_copy(update={"ensembles": (), "difficulty": (), "reliability": (), "budget": ()})


def test_every_chart_becomes_a_picture_that_needs_no_page(few):
    files = dict(exported(few, None, ["svg", "png", "pdf"]))
    names = {name.rpartition(".")[0] for name in files}
    assert names == {re.sub(r"[^A-Za-z0-9]+", "-", name) for name in figures(few, None)}
    assert len(files) == 3 * len(names)
    svg = str(files["headline.svg"])
    assert svg.startswith("<svg")
    assert "var(--" not in svg
    assert "strong on easy" in svg
    assert bytes(files["headline.png"]).startswith(b"\x89PNG")  # type: ignore[arg-type]
    assert bytes(files["headline.pdf"]).startswith(b"%PDF")  # type: ignore[arg-type]


def test_tables_hold_every_figure_to_the_digit(results):
    files = dict(exported(results, None, ["csv"]))
    conditions = {row["key"]: row for row in rows_of(files["conditions.csv"])}
    assert set(conditions) == {row.key for row in results.rows}
    for row in results.rows:
        assert float(conditions[row.key]["ood_test_low"]) == row.parts["ood_test"]["accuracy"].interval.low
        assert conditions[row.key]["recommended"] == str(int(row.key == results.recommendation.row))
    seeds = rows_of(files["seeds.csv"])
    assert len(seeds) == sum(
        len(f.per_seed) for row in results.rows for part in row.parts.values() for f in part.values()
    )
    assert len(rows_of(files["comparisons.csv"])) == len(results.comparisons)


def test_a_cell_is_no_formula_and_latex_no_command(results):
    evil = results.rows[0].model_copy(update={"label": r"=SUM(A1) & \input{x} 50% _"})
    changed = results.model_copy(update={"rows": (evil, *results.rows[1:]), "name": r"a_b \write18"})
    files = dict(exported(changed, None, ["csv"]))
    assert rows_of(files["conditions.csv"])[0]["condition"].startswith("'=")
    assert r"a\_b \textbackslash{}write18" in latex(changed)
    assert latex(results).count(r" \\") >= 5


def test_formats_are_named_and_another_is_refused():
    assert parse_formats("SVG, csv,svg") == ["svg", "csv"]
    for text in ("gif", "svg,doc", " "):
        with pytest.raises(ConfigError, match="choose among svg, png, pdf, csv, tex"):
            parse_formats(text)
