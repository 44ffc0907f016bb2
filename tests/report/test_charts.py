"""What charts promise: colours that one can see and that mean one thing, labels that do not overlap, no noise drawn."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemw2s.report.charts import BEHIND_TEXT, COLOURS, FEWEST, SPARE, colour_of, names_of, spread
from ensemw2s.report.figures import figures
from ensemw2s.report.overview import next_steps, overview, tiles
from ensemw2s.report.scale import MARGIN, MOST_TICKS, WIDTH, Scale
from ensemw2s.results import Condition, DifficultyBin, DifficultyCurve, Interval
from ensemw2s.results.conditions import ensemble, student
from ensemw2s.results.picks import main_rows
from report.conftest import interval

PAPERS = {"#fdfdfc": "#1c1e21", "#16181b": "#e7e8ea"}
"""The page in light and in dark mode, and its ink."""


def rgb(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def contrast(a: list[float], b: list[float]) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def luminance(parts: list[float]) -> float:
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", sorted({*COLOURS.values(), *SPARE}))
def test_every_colour_stands_out_from_both_pages_and_ink_from_its_cells(colour):
    for paper, ink in PAPERS.items():
        assert contrast(rgb(colour), rgb(paper)) >= 3.0
        cell = [BEHIND_TEXT * a + (1 - BEHIND_TEXT) * b for a, b in zip(rgb(colour), rgb(paper), strict=True)]
        assert contrast(cell, rgb(ink)) >= 4.5


def test_a_method_has_one_colour_as_an_ensemble_and_as_a_teacher():
    for method in ("boosting", "bagging", "somebody-elses"):
        assert colour_of(ensemble(method)) == colour_of(student(method, "xent-soft"))
    assert colour_of(Condition(kind="strong_on_easy")) != colour_of(ensemble("boosting"))


@given(st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=8))
def test_labels_keep_their_distance_and_their_order(values):
    places = spread(values, 0.1)
    order = sorted(range(len(values)), key=lambda i: values[i])
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(places[i] for i in order))
    assert sum(places) == pytest.approx(sum(values), abs=1e-6)  # none is moved further than the others need


def test_a_bin_of_fewer_than_ten_items_is_not_drawn(results):
    few = DifficultyBin(low=9e5, high=9e6, n_items=FEWEST - 1, accuracy=interval(0.5))
    curves = tuple(DifficultyCurve(row=c.row, bins=(*c.bins, few)) for c in results.difficulty)
    changed = results.model_copy(update={"difficulty": curves})
    assert "900,000" not in json.dumps(figures(changed, None)["difficulty"])
    only = tuple(DifficultyCurve(row=c.row, bins=(few,)) for c in results.difficulty)
    assert "difficulty" not in figures(results.model_copy(update={"difficulty": only}), None)


def test_panels_that_are_compared_share_their_axis(results):
    charts = figures(results, None)
    for section, axis in (("rounds", "y"), ("gains", "x")):
        panels = [spec for name, spec in charts.items() if name.startswith(f"{section}/")]
        domains = {json.dumps(domain) for spec in panels for domain in found(spec, axis)}
        assert len(panels) > 1
        assert len(domains) == 1


def found(spec, axis: str) -> list[object]:
    """The domains of an axis in all layers of a chart."""
    if isinstance(spec, list):
        return [domain for each in spec for domain in found(each, axis)]
    if not isinstance(spec, dict):
        return []
    encoding = spec.get("encoding", {}).get(axis, {})
    own = [encoding["scale"]["domain"]] if "domain" in (encoding.get("scale") or {}) else []
    return own + [domain for each in spec.values() for domain in found(each, axis)]


def test_what_is_compared_first_has_at_most_eight_rows_and_the_recommended_one(results):
    rows = dict(main_rows(results))
    assert 4 <= len(rows) <= 8
    assert results.recommendation.row in {row.key for row in rows.values()}
    assert {"strong on easy", "ensemble", "best student", "ceiling"} <= set(rows)
    drawn = json.dumps(overview(results).to_dict(validate=False), ensure_ascii=False)
    assert drawn.count("★") >= 2  # its interval and its seeds


def test_names_are_short_where_they_still_differ(results):
    names = names_of(results, ["ceiling", "student:boosting:xent-soft", "student:bagging:xent-soft"])
    assert names["student:boosting:xent-soft"] == "student of the boosted ensemble"
    both = names_of(results, ["student:boosting:xent-soft", "student:boosting:logconf-soft"])
    assert both["student:boosting:logconf-soft"] == (
        "student of the boosted ensemble, trained on soft labels, log-confidence loss"
    )


def test_tiles_are_of_the_row_to_use_or_of_the_best_student_beside_strong_on_easy(results):
    gain, gap, cost = tiles(results)
    difference = next(
        c.difference.mean
        for c in results.comparisons
        if (c.row, c.baseline, c.part) == (results.recommendation.row, "strong_on_easy", "ood_test")
    )
    assert gain.value == f"{100 * difference:+.1f} points"
    assert (gap.value, cost.value) == ("25%", "1.0 times")
    baseline = results.recommendation.model_copy(update={"row": "strong_on_easy"})
    shown = tiles(results.model_copy(update={"recommendation": baseline}))
    assert "student of" in shown[0].note


@pytest.mark.parametrize(("rival", "command"), [(None, "predict"), ("boosting", "label"), ("majority", "queue")])
def test_the_next_command_is_of_what_is_to_be_used(results, rival, command):
    majority = results.rows[0].model_copy(update={"key": "majority", "condition": Condition(kind="majority")})
    recommendation = results.recommendation.model_copy(update={"rival": rival})
    changed = results.model_copy(update={"rows": (majority, *results.rows), "recommendation": recommendation})
    steps = next_steps(changed, "my runs/a")
    assert steps[0][1].startswith(f"ensemw2s {command} ")
    assert "'my runs/a" in steps[0][1]
    assert "seeds=[100,101,102,103,104]" in steps[1][1]


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_scale_holds_its_intervals_and_has_round_ticks(a, b):
    low, high = sorted((a, b))
    scale = Scale.of([Interval(mean=(low + high) / 2, low=low, high=high, method="student-t")])
    for value in (low, high, *scale.ticks):
        assert MARGIN - 0.1 <= scale.place(value) <= WIDTH - MARGIN + 0.1
    assert len(scale.ticks) <= MOST_TICKS
