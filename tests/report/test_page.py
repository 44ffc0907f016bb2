"""The page and the tables, on the synthetic results of conftest and on variations of them."""

import html
import io
import json
import re

import altair as alt
import pytest
from rich.console import Console

from ensemw2s.report.figures import figures
from ensemw2s.report.page import render, write_report
from ensemw2s.report.table import comparison_table, leaderboard, percent, points, short, terminal_table
from ensemw2s.report.trainings import MEANING
from ensemw2s.results import Interval, RunComparison, RunLine, RunPair
from ensemw2s.results.picks import main_rows
from ensemw2s.training_end import TrainingEnd

SECTIONS = [
    *("headline", "experiment", "rows", "certainty", "gains", "pgr", "mending", "robustness", "items", "difficulty"),
    *("reliability", "rounds", "answers", "correlation", "people", "trainings", "time", "task", "notes"),
    *("configuration", "glossary"),
]


def text(table) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def cells_of(page: str, section: str) -> list[list[str]]:
    """The cells of a section's table, line by line."""
    table = page.split(f'<section id="{section}">')[1].split("</section>")[0].split("<tbody>")[1]
    table = table.split("</tbody>")[0]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in table.split("<tr>")[1:]]


def charts(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="specs">(.*?)</script>', page, re.S)[1])


def test_every_section_stands_in_the_page_and_it_loads_nothing(results, page):
    assert re.findall(r'<section id="([a-z]+)">', page) == SECTIONS
    assert results.recommendation.headline in page
    assert not re.search(r'(src|href)="?https?:', page)
    assert len(page) < 1.5e6
    places = [html.unescape(place) for place in re.findall(r'data-chart="([^"]+)"', page)]
    assert sorted(places) == sorted(charts(page))


def test_every_row_stands_in_both_tables_with_its_interval(results, page):
    lines = leaderboard(results)
    assert {line.key for line in lines} == {r.key for r in results.rows}
    terminal = text(terminal_table(results))
    for line in lines:
        assert line.ood_test in page
        assert line.ood_test in terminal


def test_perturbed_tests_are_one_table_of_rows_by_perturbations(results, page):
    lines = cells_of(page, "robustness")
    assert len(lines) == len(main_rows(results))
    section = page.split('<section id="robustness">')[1].split("</section>")[0]
    assert f"All {len(results.rows)} rows" in section
    assert "typos 900 of 900 questions; accents 850 of 900 questions (50 more would have become" in section
    student = next(line for line in lines if "student of" in line[0])
    assert student[2] == student[3]
    assert re.fullmatch(r"55.0; drop \+5.0 \[\+3.0, \+7.0\]; beyond -1.0 \[-3.0, \+1.0\]", student[2])


def test_names_are_words_and_every_term_leads_to_the_glossary(results, page):
    """Keys such as student:boosting:xent-soft+easy stand in titles, in data and in the configuration alone."""
    shown = re.sub(r"<script.*?</script>|<pre>.*?</pre>", "", page, flags=re.S)
    shown = re.sub(r"<[^>]*>", " ", shown)
    assert not re.search(r"xent|\+easy|logconf", shown)
    assert all(f'title="{row.key}"' in page for row in results.rows)
    linked = set(re.findall(r'href="#([\w-]+)"', page))
    assert len(linked) > 8
    assert linked <= set(re.findall(r' id="([\w-]+)"', page))


def test_below_five_seeds_the_page_says_what_that_means(make, page):
    assert "3 seeds say little of how much a row changes from seed to seed" in page
    assert "One seed: the intervals cover the test's items alone" in render(make(n_seeds=1), None)
    enough = render(make(n_seeds=5), None)
    assert "say little" not in enough
    assert "seeds=[" not in enough  # nor does it ask for more


def test_text_of_a_user_cannot_become_markup(results, timing):
    evil = "</script><script>alert(1)</script>"
    rows = (results.rows[0].model_copy(update={"label": evil}), *results.rows[1:])
    task = results.task.model_copy(update={"name": evil, "difficulty_meaning": evil})
    page = render(results.model_copy(update={"rows": rows, "task": task, "name": evil}), timing)
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_nothing_that_a_browser_obeys_stays_in_the_page_or_its_charts(results, timing):
    evil = "\x1b[31m\x9b\x7f\x0c\u202e\u2066\u2028"
    rows = tuple(row.model_copy(update={"label": f"{evil} {row.label}"}) for row in results.rows)
    task = results.task.model_copy(update={"name": evil, "choices": (evil, "b"), "source": evil})
    changed = results.model_copy(update={"rows": rows, "task": task, "name": evil, "notes": (evil,), "weak": evil})
    page = render(changed, timing)
    specs = charts(page)
    for text in (
        page[: page.index("</main>")],
        page[page.index('id="specs"') :],
        json.dumps(specs, ensure_ascii=False),
    ):
        assert not set(evil) - set("[31m") & set(text)
    assert "\\x1b[31m\\x9b\\x7f\\x0c\\u202e\\u2066\\u2028" in page


def test_a_row_whose_learner_did_not_converge_carries_a_mark_and_its_end_is_told(results, timing, page):
    stopped = TrainingEnd("stopped_early", True, 120, 24, 22, 0.25, 0.9, 0.5, 24)
    short = TrainingEnd("all_epochs", False, 60, 12, None, 0.65, 0.7)
    fitted = TrainingEnd("converged", True, 31, training_loss=0.3, gradient=1e-9)
    ends = {"strong_on_easy": (fitted,) * 3, "ceiling": (stopped, short, stopped), "boosting": (stopped, None, stopped)}
    rows = tuple(row.model_copy(update={"trainings": ends.get(row.key, ())}) for row in results.rows)
    changed = results.model_validate_json(results.model_copy(update={"rows": rows}).model_dump_json())
    assert [changed.row(key).converged for key in ("strong_on_easy", "ceiling", "boosting", "zero_shot")] == [
        True,
        False,
        None,
        None,
    ]
    marked, terminal = render(changed, timing), text(terminal_table(changed))
    told = {line[0]: line[1:] for line in cells_of(marked, "trainings")}
    assert told["strong model on easy labels"] == ["at the optimum", "3 of 3", "–", "31", "0.300", "–", "–"]
    label = changed.row("ceiling").label
    assert told[label + "°"][:4] == ["2 stopped early, 1 took all epochs", "2 of 3", "12–24", "60–120"]
    assert told[label + "°"][4:] == ["0.383", "83.3", "0.500"]
    assert told["boosted ensemble"][:2] == ["2 stopped early, 1 unknown", "2 of 3"]
    assert len(told) == 3
    assert marked.count(f"{label}°") == 3  # in both tables of conditions, and where trainings are told
    assert MEANING in marked
    assert f"{label}°" in terminal
    assert MEANING in terminal
    assert "°" not in text(terminal_table(results)) + page
    assert "Unknown: this run was made before it was kept." in page


def test_what_is_missing_is_said(results):
    undefined = results.pgr[0].model_copy(update={"value": None, "reason": "the gap is not clear"})
    recommendation = results.recommendation.model_copy(update={"is_baseline": True})
    task = results.task.model_copy(update={"split_uses_labels": True})
    changed = results.model_copy(
        update={"pgr": (undefined,), "recommendation": recommendation, "task": task, "ensembles": (), "comparisons": ()}
    )
    page = render(changed, None)
    assert "undefined: the gap is not clear" in page
    assert "No timing was kept" in page
    assert "baseline</a>: it needs no weak supervision." in page
    assert "split_uses_labels" in page
    assert "no students to compare" in page


def test_balanced_accuracy_has_a_column_where_the_classes_are_uneven(results, page):
    assert "OOD, balanced" not in page
    figure = results.rows[0].parts["ood_test"]["accuracy"]
    figure = figure.model_copy(update={"interval": Interval(mean=0.512, low=0.5, high=0.525, method="student-t")})
    parts = {p: figures | {"balanced_accuracy": figure} for p, figures in results.rows[0].parts.items()}
    first = results.rows[0].model_copy(update={"parts": parts})
    uneven = render(results.model_copy(update={"rows": (first, *results.rows[1:])}), None)
    assert "OOD, balanced" in uneven
    assert "51.2 [50.0, 52.5]" in uneven
    assert "50 is what always answering the same gets" in uneven


def test_pgr_says_one_reason_once_and_names_the_rows_that_lack_it(results):
    lost = tuple(p.model_copy(update={"value": None, "reason": "no clear gap"}) for p in results.pgr)
    everywhere = render(results.model_copy(update={"pgr": lost}), None)
    assert everywhere.count("no clear gap") == 2  # once on the first screen
    assert "for every row" in everywhere
    one = render(results.model_copy(update={"pgr": (lost[0], *results.pgr[1:])}), None)
    assert one.count("0.25 [0.15, 0.35]") == len(results.pgr) - 1
    assert "25%" in one
    assert f"no clear gap; this holds for {results.row(lost[0].row).label}." in one


def test_every_chart_follows_the_schema_of_vega_lite(results, timing):
    for spec in figures(results, timing).values():
        alt.Chart.from_dict(spec, validate=True)


@pytest.mark.parametrize(("methods", "n_seeds"), [(("single",), 1), (("bagging",), 3), (("boosting",), 1)])
def test_a_run_of_one_method_or_one_seed_has_its_page(make, timing, methods, n_seeds):
    results = make(n_seeds=n_seeds, methods=methods)
    page = render(results, timing)
    assert re.findall(r'<section id="([a-z]+)">', page) == SECTIONS
    names = charts(page)
    assert {"difficulty", "reliability", "time"} <= set(names)
    grown = methods != ("single",)
    assert any(n.startswith("rounds/") for n in names) == grown
    assert ("This run has no ensemble of more than one expert." in page) == (not grown)
    assert any("boosting: error" in n for n in names) == (methods == ("boosting",))
    title = "over 1 seed\n" if n_seeds == 1 else "over 3 seeds\n"
    assert title in re.sub(r" +\n", "\n", text(terminal_table(results)))


def test_a_written_page_replaces_the_old_one_and_leaves_no_temporary_file(results, timing, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(results, timing, path)
    assert path.read_text(encoding="utf-8") == render(results, timing, folder=str(tmp_path))
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_that_cannot_be_made_leaves_the_old_one(results, timing, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(KeyError):
        write_report(results.model_copy(update={"rows": results.rows[:2]}), timing, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_ensemble_size_is_one_number_or_its_range(make):
    sizes = {line.key: line.n_experts for line in leaderboard(make())}
    assert sizes["single"] == "1"
    assert sizes["strong_on_easy"] == ""
    row = make().row("bagging").model_copy(update={"n_experts": (2, 6, 5)})
    found = leaderboard(make().model_copy(update={"rows": (row,)}))
    assert found[0].n_experts == "2–6, mean 4.3"


def test_numbers_are_written_as_readers_expect():
    interval = Interval(mean=0.712, low=0.698, high=0.7251, method="student-t")
    assert percent(interval) == "71.2 [69.8, 72.5]"
    assert points(interval) == "+71.2 [+69.8, +72.5]"
    assert [short(n) for n in (0, 999, 1_234_567, 2.5e12)] == ["0", "999", "1.23M", "2.5T"]


def test_runs_side_by_side_show_a_difference_or_its_reason():
    interval = Interval(mean=0.6, low=0.5, high=0.7, method="student-t")
    lines = tuple(
        RunLine(
            run=f"runs/{n}",
            row="ceiling",
            labels={"ceiling": "the ceiling"},
            n_seeds=2,
            metric="accuracy",
            accuracy={"ceiling": interval},
        )
        for n in "abc"
    )
    pairs = (
        RunPair(first="runs/b", second="runs/a", difference=interval, reason=""),
        RunPair(first="runs/c", second="runs/a", difference=None, reason="the seeds differ"),
    )
    shown = text(comparison_table(RunComparison(lines=lines, pairs=pairs)))
    assert "+60.0 [+50.0, +70.0]" in shown
    assert "the seeds differ" in shown
    assert "a (2 seeds)" in shown
    assert "the ceiling" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_mended_and_broken_labels_stand_with_their_intervals_best_on_easy_val_first(results, page):
    best = max(results.mending, key=lambda m: results.row(m.row).parts["easy_val"]["accuracy"].interval.mean)
    first = cells_of(page, "mending")[0]
    assert first[0] == html.escape(results.row(best.row).label)
    assert best.mended is not None
    assert best.broken is not None
    assert first[1:] == [percent(best.labels_right), percent(best.mended), percent(best.broken), points(best.net)]
    none_wrong = results.mending[0].model_copy(update={"mended": None})
    assert "–" in cells_of(render(results.model_copy(update={"mending": (none_wrong,)}), None), "mending")[0]
