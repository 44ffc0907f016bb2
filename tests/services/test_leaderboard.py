"""Leaderboards: what is run and what not twice, what stops in the middle, and that the figures are the runs' own."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from ensemw2s import cli
from ensemw2s.config import parse_config
from ensemw2s.errors import ConfigError, RunError
from ensemw2s.pipeline.run_folder import read_items, read_results
from ensemw2s.report.leaderboard import markdown, terminal_table, write_page
from ensemw2s.services.leaderboard import build as leaderboard
from ensemw2s.services.leaderboard.build import build_leaderboard, parse_budget, plan_leaderboard
from ensemw2s.services.leaderboard.methods import METHODS, chosen_methods, with_methods
from ensemw2s.tables import LABEL_MODELS, LOSSES, SELECTIONS
from tiny_run import merged, tiny_tree, tiny_words_tree

SOME = "boosting,logconf,majority,agreement,independent+easy,self+easy,auto"


@pytest.fixture(scope="module")
def place(tmp_path_factory, task_file):
    """Two tasks' configuration files: one answered by a class, one in words."""
    folder = tmp_path_factory.mktemp("boards")
    small = {"split": {"n_hard_unlabelled": 40}, "ensemble": {"n_rounds": 2}}
    for name, tree in (("classes", tiny_tree(task_file)), ("words", tiny_words_tree(task_file))):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(merged(tree, {**small, "name": name})))
    return folder


@pytest.fixture(scope="module")
def tasks(place):
    return [str(place / "classes.yaml"), str(place / "words.yaml")]


@pytest.fixture(scope="module")
def board(place, tasks):
    return build_leaderboard(plan_leaderboard(SOME, tasks, range(2)), place / "board")


def test_every_loss_label_model_and_selection_is_a_method_by_its_own_name():
    assert {*LOSSES, *LABEL_MODELS, *SELECTIONS} - {"xent", "vote", "all"} <= set(METHODS)
    recipes = [(spec.teacher, spec.recipe.name) for spec in METHODS.values()]
    assert len(set(recipes)) == len(recipes)


def test_the_figures_are_those_of_the_runs(board, place):
    for task in board.tasks:
        results, items = read_results(place / "board" / task.run), read_items(place / "board" / task.run)
        part = results.hardest_test
        cells = {c.method: c for c in board.cells if c.task == task.name}
        single = items[f"{part}/{cells['single'].row}"].double()
        on_easy = {c.row: c for c in results.comparisons if c.baseline == "strong_on_easy" and c.part == part}
        for cell in cells.values():
            row = results.row(cell.row)
            values = items[f"{part}/{cell.row}"].double()
            assert values.mean(1).tolist() == pytest.approx(list(row.parts[part]["accuracy"].per_seed))
            assert cell.accuracy == row.parts[part]["accuracy"].interval
            assert cell.gain.mean == pytest.approx(float((values - single).mean()))
            if cell.row in on_easy:
                assert cell.distance == on_easy[cell.row].difference
                assert cell.distance_p >= on_easy[cell.row].p_value
        assert cells["single"].gain.mean == cells["single"].gain.high == 0.0
        ranks = [c.rank.mean for c in cells.values()]
        assert sum(ranks) == pytest.approx(len(ranks) * (len(ranks) + 1) / 2)
        assert sum(c.wins for c in cells.values()) == sum(c.losses for c in cells.values())


def test_a_method_that_a_task_cannot_have_is_left_out_there(board):
    there = {task.name: {c.method for c in board.cells if c.task == task.name} for task in board.tasks}
    assert there["classes"] - there["words"] == {"logconf"}
    line = board.line("logconf")
    assert line.n_tasks == 1
    assert set(line.gain_by_form) == {"classes"}
    assert set(board.line("auto").gain_by_form) == {"classes", "words"}


def test_the_saved_work_is_counted(board, place):
    alone = experts = 0
    for task in board.tasks:
        results = read_results(place / "board" / task.run)
        trained = {(e.method, e.seed): len(e.rounds) for e in results.ensembles}
        rows = [c.method for c in board.cells if c.task == task.name and c.method in METHODS]
        alone += sum(trained.get((METHODS[m].teacher, s), 0) for m in rows for s in task.seeds)
        used = json.loads((place / "board" / task.run / "stages" / "experts.json").read_text())["artifacts"]
        experts += len({a["key"] for a in used if a["kind"] == "experts"})
    assert (board.work.experts_alone, board.work.experts) == (alone, experts)
    assert board.work.evaluations_alone > board.work.evaluations > 0


def test_a_second_call_runs_nothing_and_gives_the_same_board(board, place, tasks, monkeypatch):
    def refuse(*_args, **_more):
        raise AssertionError("nothing is missing")

    monkeypatch.setattr(leaderboard, "train", refuse)
    monkeypatch.setattr(leaderboard, "run", refuse)
    before = (place / "board" / "leaderboard.json").read_bytes()
    assert build_leaderboard(plan_leaderboard(SOME, tasks, range(2)), place / "board") == board
    assert (place / "board" / "leaderboard.json").read_bytes() == before


def test_more_methods_and_seeds_retrain_no_expert(board, place, tasks):
    more = build_leaderboard(plan_leaderboard(SOME + ",product,next-round+easy", tasks, range(2)), place / "board")
    for task in more.tasks:
        timing = json.loads((place / "board" / task.run / "timing.json").read_text())
        assert {s["stage"]: s["computed"] for s in timing["stages"]}["experts"] == 0
    old = {(c.task, c.method): c.accuracy for c in board.cells if c.method != "auto"}
    assert old.items() <= {(c.task, c.method): c.accuracy for c in more.cells}.items()


def test_an_interrupted_comparison_goes_on_and_ends_in_the_same_figures(board, place, tasks, monkeypatch, tmp_path):
    plan = plan_leaderboard(SOME, tasks, range(2))
    real, calls = leaderboard.train, []

    def dying(config, folder, **more):
        calls.append(config.seeds)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(config, folder, **more)

    monkeypatch.setattr(leaderboard, "train", dying)
    with pytest.raises(KeyboardInterrupt):
        build_leaderboard(plan, tmp_path / "board")
    resumed = build_leaderboard(plan, tmp_path / "board")
    assert len(calls) == 5  # four cells, one of them begun twice
    assert (resumed.cells, resumed.lines) == (board.cells, board.lines)


def test_what_the_budget_leaves_undone_is_named_and_the_rest_is_compared(place, tasks):
    board = build_leaderboard(plan_leaderboard(SOME, tasks, range(2)), place / "hurried", budget=1e-9)
    assert [t.seeds for t in board.tasks] == [(0,), (0,)]
    assert board.missing == ("classes, seed 1", "words, seed 1")
    assert all(c.distance_p is None and c.wins == 0 for c in board.cells)  # one seed settles nothing
    assert "Left undone for want of time: classes, seed 1" in (place / "hurried" / "leaderboard.md").read_text()


def test_wrong_requests_end_before_any_work(tasks, place):
    for call, word in (
        (lambda: chosen_methods("boosting,no-such"), "--methods: there is no 'no-such'; choose all, or some of single"),
        (lambda: chosen_methods(" "), "--methods"),
        (lambda: plan_leaderboard("all", [], range(2)), "--tasks: there is none"),
        (lambda: plan_leaderboard("all", [tasks[0], tasks[0]], range(2)), "two configurations have the name 'classes'"),
        (lambda: plan_leaderboard("all", tasks, ()), "--seeds: give one or more"),
        (
            lambda: plan_leaderboard("all", ["no.yaml"], range(2)),
            "there is no such file; check the path of the configuration",
        ),
        (lambda: parse_budget("soon"), "--budget 'soon': give a time such as 90s, 45m, 2h"),
    ):
        with pytest.raises(ConfigError, match=re.escape(word)):
            call()
    assert parse_budget("1h30m") == 5400
    damaged = place / "damaged" / "cells"
    damaged.mkdir(parents=True)
    plan = plan_leaderboard("boosting", tasks[:1], [0])
    (damaged / f"{leaderboard.canonical_hash(plan.of_seeds('classes', [0]))[:16]}.json").write_text("{")
    with pytest.raises(RunError, match="damaged; remove it"):
        build_leaderboard(plan, place / "damaged")


def test_configurations_are_cut_to_what_the_methods_need(task_file):
    config, rows = with_methods(parse_config(tiny_tree(task_file)), ["single", "majority", "self+easy"])
    assert config.ensemble.methods == ("single", "independent")
    assert set(rows.values()) == {
        "student:single:xent-soft",
        "student:independent:xent-soft-majority",
        "self_training:xent-soft+easy",
    }
    assert len(config.students.pairs(config.ensemble.methods)) == 3


def test_the_page_the_markdown_and_the_terminal_show_every_method(board, tmp_path):
    write_page(board, tmp_path / "page.html")
    page, text = (tmp_path / "page.html").read_text(), markdown(board)
    for line in board.lines:
        assert f'<th scope="row">{line.method}' in page
        assert f"| {line.method}" in text
    assert "http" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)  # it loads nothing
    assert terminal_table(board).row_count == len(board.lines)


def test_the_command_writes_a_leaderboard(tasks, tmp_path, monkeypatch, capsys):
    command = f"ensemw2s compare --methods boosting,auto --tasks {tasks[0]} --seeds 2 --tiny --json --output"
    monkeypatch.setattr("sys.argv", [*command.split(), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert {line["method"] for line in found["lines"]} == {"single", "boosting", "auto"}
    assert (tmp_path / "out" / "leaderboard.html").stat().st_size > 0
    monkeypatch.setattr("sys.argv", ["ensemw2s", "compare", "runs/a", "--methods", "all"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2


def test_items_that_are_gone_are_named(board, place, tmp_path):
    with pytest.raises(RunError, match=re.escape("items.safetensors: the answers item by item are missing")):
        read_items(tmp_path)
    items = read_items(place / "board" / board.tasks[0].run)
    assert all(t.dtype == torch.bool for name, t in items.items() if not name.endswith("/groups"))
    assert Path(place / "board" / board.tasks[0].run / "report.html").exists()
