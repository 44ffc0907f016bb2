"""The page and the tables, on the results of a real tiny run and on variations of them."""

import io
import json
import re
import shutil
import subprocess

import pytest
from rich.console import Console

from ensemw2s.experiment.runner import read_results, read_timing, run
from ensemw2s.report.page import render, write_report
from ensemw2s.report.table import comparison_table, leaderboard, percent, points, short, terminal_table
from ensemw2s.results import Interval, RunComparison, RunLine, RunPair

SECTIONS = [
    *("headline", "rows", "gains", "pgr", "rounds", "answers", "difficulty"),
    *("reliability", "correlation", "time", "task", "notes", "configuration"),
]
CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("report")


@pytest.fixture
def results(folder, tiny_config):
    if not (folder / "run" / "results.json").exists():
        run(tiny_config(), folder / "run", store_root=folder / "store")
    return read_results(folder / "run")


@pytest.fixture
def timing(folder, results):
    return read_timing(folder / "run")


def text(table) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def charts(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="specs">(.*?)</script>', page, re.S)[1])


def test_every_section_stands_in_the_page_and_it_loads_nothing(results, timing):
    page = render(results, timing)
    assert re.findall(r'<section id="([a-z]+)">', page) == SECTIONS
    assert results.recommendation.headline.split("(")[0] in page.replace("&#39;", "'")
    assert not re.search(r'(src|href)="?https?:', page)
    assert len(page) < 1.5e6
    places = re.findall(r'data-chart="([^"]+)"', page)
    assert sorted(places) == sorted(charts(page))


def test_every_row_stands_in_both_tables_with_its_interval(results, timing):
    lines = leaderboard(results)
    assert {line.key for line in lines} == {r.key for r in results.rows}
    page, terminal = render(results, timing), text(terminal_table(results))
    for line in lines:
        assert line.ood_test in page
        assert line.ood_test in terminal


def test_text_of_a_user_cannot_become_markup(results, timing):
    evil = "</script><script>alert(1)</script>"
    rows = (results.rows[0].model_copy(update={"label": evil}), *results.rows[1:])
    task = results.task.model_copy(update={"name": evil, "difficulty_meaning": evil})
    page = render(results.model_copy(update={"rows": rows, "task": task, "name": evil}), timing)
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


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
    assert "weak supervision did not earn its cost" in page
    assert "split_uses_labels" in page
    assert "no students to compare" in page


def test_numbers_are_written_as_readers_expect():
    interval = Interval(mean=0.712, low=0.698, high=0.7251, method="student-t")
    assert percent(interval) == "71.2 [69.8, 72.5]"
    assert points(interval) == "+71.2 [+69.8, +72.5]"
    assert [short(n) for n in (0, 999, 1_234_567, 2.5e12)] == ["0", "999", "1.23M", "2.5T"]


def test_runs_side_by_side_show_a_difference_or_its_reason():
    interval = Interval(mean=0.6, low=0.5, high=0.7, method="student-t")
    lines = tuple(RunLine(run=n, row="ceiling", n_seeds=2, accuracy={"ceiling": interval}) for n in "abc")
    pairs = (
        RunPair(first="b", second="a", difference=interval, reason=""),
        RunPair(first="c", second="a", difference=None, reason="the seeds differ"),
    )
    shown = text(comparison_table(RunComparison(lines=lines, pairs=pairs)))
    assert "+60.0 [+50.0, +70.0]" in shown
    assert "the seeds differ" in shown


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium on the PATH")
@pytest.mark.parametrize("size", ["1280,900", "390,800"])
def test_a_browser_draws_every_chart_without_an_error(folder, results, timing, size, tmp_path):
    path = folder / "page.html"
    write_report(results, timing, path)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [f"--user-data-dir={tmp_path}", f"--window-size={size}", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    body = re.search(r"<body[^>]*>", done.stdout)[0]
    assert 'data-errors="[]"' in body
    n_charts = len(charts(path.read_text()))
    assert n_charts >= 8
    assert f'data-drawn="{n_charts}"' in body
    assert len(re.findall(r'<svg[^>]*class="marks"', done.stdout)) == n_charts
