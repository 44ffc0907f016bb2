"""The ladder: each rung undoes one choice, its figures are the runs' own, and no learner is trained twice."""

import io
import json
import re
import sys

import pytest
import torch
import yaml
from rich.console import Console

from ensemw2s import cli
from ensemw2s.config import parse_config
from ensemw2s.errors import ConfigError
from ensemw2s.pipeline.run_folder import read_items
from ensemw2s.report.ladder import PUBLISHED, markdown, terminal_table
from ensemw2s.services.replication import ladder as replication
from ensemw2s.services.replication.ladder import best_by_the_test, build_ladder, folder_of
from ensemw2s.services.replication.rungs import plan_ladder
from tiny_run import merged, tiny_tree, tiny_words_tree

SMALL = {"split": {"n_hard_unlabelled": 40}, "ensemble": {"n_rounds": 2}, "deliver": {"refit": True}}
RELEASED = {"ensemble": {"reweight": "resample", "max_expert_weight": 1000, "temperature": "none"}}


@pytest.fixture(scope="module")
def tree(task_file):
    """Boosts as released, which saves a run."""
    return merged(merged(tiny_tree(task_file), SMALL), RELEASED)


@pytest.fixture(scope="module")
def plan(tree):
    return plan_ladder(parse_config(tree))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("ladder")


@pytest.fixture(scope="module")
def ladder(plan, root):
    return build_ladder(plan, root)


def items_of(root, config):
    return read_items(root / folder_of(config))


def test_every_rung_undoes_one_choice_by_settings_that_every_run_has(task_file):
    plan = plan_ladder(parse_config(tiny_tree(task_file) | {"deliver": {"refit": True}}))
    first, soft, on_val, longer, shuffled, configured, seeds, converged = plan.rungs
    assert not plan.left_out
    assert [c.ensemble.select_by for c in first.boosted] == [1, 2, 3]
    assert (first.recipe, first.single_recipe, soft.single_recipe) == ("xent-soft", "xent-hard", "xent-soft")
    assert soft.boosted == first.boosted
    assert [c.ensemble.select_by for c in on_val.boosted] == ["log_loss"]
    assert (on_val.single.expert_training.epochs, on_val.boosted[0].expert_training.epochs) == (3, 5)
    assert longer.boosted == (longer.single,) == on_val.boosted
    assert [r.boosted[0].expert_training.shuffle for r in plan.rungs] == [False] * 4 + [True] * 4
    assert all(r.boosted[0].student_training.shuffle for r in plan.rungs)
    boosting = [(r.boosted[0].ensemble.reweight, r.boosted[0].ensemble.temperature) for r in plan.rungs]
    assert boosting == [("resample", "none")] * 5 + [("loss", "fit")] * 3
    assert seeds.boosted == configured.boosted
    assert [r.n_seeds for r in plan.rungs] == [1] * 6 + [2] * 2
    assert (converged.single.expert_training.solver, converged.single.student_training.solver) == ("lbfgs", "lbfgs")
    for config in plan.runs:
        assert config.ensemble.methods in (("single", "boosting"), ("single",))
        assert not config.deliver.refit
    for rung in plan.rungs[:-1]:
        for training in (rung.single.expert_training, rung.boosted[0].student_training):
            assert (training.solver, training.patience, training.batch_size) == ("adamw", None, 32)
    assert shuffled.single.split == plan.config.split


def test_a_choice_that_a_configuration_does_not_make_is_left_out(task_file, tree, plan):
    words = plan_ladder(parse_config(merged(tiny_words_tree(task_file), {"seeds": [4]})))
    assert [re.split(r"[ ,]", change)[1] for change in words.left_out] == ["single", "seed"]
    last = words.rungs[-1].single.expert_training
    assert (last.solver, last.schedule, last.patience) == ("adamw", "constant", 3)
    assert [change.partition(",")[0] for change in plan.left_out] == ["boosting as configured"]
    with pytest.raises(ConfigError, match="two rounds or more"):
        plan_ladder(parse_config(merged(tree, {"ensemble": {"n_rounds": 1}})))


def test_the_best_of_several_sizes_by_the_test_gains_though_none_is_better():
    right = torch.rand(8, 20, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) < 0.7
    best = best_by_the_test(right.double())
    assert float(right[best, torch.arange(20)].double().mean()) > 0.72
    assert best_by_the_test(torch.ones(3, 2, 5).double()).tolist() == [0, 0]


def test_the_figures_are_the_differences_of_the_runs(ladder, plan, root):
    for planned, rung in zip(plan.rungs, ladder.rungs, strict=True):
        single = items_of(root, planned.single)
        runs = [items_of(root, config) for config in planned.boosted]
        for gain in rung.gains:
            keys = {
                "ensemble": ("boosting", "single"),
                "student": (f"student:boosting:{planned.recipe}", f"student:single:{planned.single_recipe}"),
            }[gain.of]
            ours = [max(run[f"{gain.part}/{keys[0]}"][seed].double().mean() for run in runs) for seed in (0, 1)]
            theirs = single[f"{gain.part}/{keys[1]}"].double().mean(1)
            assert gain.boosted == pytest.approx(torch.stack(ours).tolist())
            assert gain.single == pytest.approx(theirs.tolist())
            reported = (torch.stack(ours) - theirs)[: rung.n_seeds]
            assert gain.difference.mean == pytest.approx(float(reported.mean()))
            assert gain.difference.low <= gain.difference.mean <= gain.difference.high
            assert max(gain.n_experts) <= 2
    assert ladder.rungs[0].gains[0].difference.method == "items only"
    assert ladder.rungs[-1].gains[0].difference.method != "items only"


def test_the_first_boosted_expert_is_the_single_one_and_choosing_by_the_test_never_loses(ladder, plan, root):
    one = items_of(root, plan.rungs[0].boosted[0])
    both = items_of(root, plan.rungs[3].single)
    for part in ("id_test", "ood_test"):
        assert torch.equal(one[f"{part}/boosting"], both[f"{part}/single"])
    for soft, on_val in zip(ladder.rungs[1].gains, ladder.rungs[2].gains, strict=True):
        assert all(a >= b for a, b in zip(soft.boosted, on_val.boosted, strict=True))


def test_every_learner_is_trained_once(ladder, root):
    for stage, kind in (("experts", "experts"), ("students", "students")):
        keys, computed = set(), 0
        for folder in {folder for rung in ladder.rungs for folder in rung.runs}:
            used = json.loads((root / folder / "stages" / f"{stage}.json").read_text())["artifacts"]
            keys |= {each["key"] for each in used if each["kind"] == kind}
            timing = json.loads((root / folder / "timing.json").read_text())
            computed += sum(each["computed"] for each in timing["stages"] if each["stage"] == stage)
        assert computed == len(keys)


def test_the_command_goes_on_where_it_was(ladder, plan, root, tree, tmp_path, monkeypatch, capsys):
    before = (root / "ladder.json").read_bytes()
    done: list[str] = []
    run = replication.run

    def counted(config, folder, **more):
        done.append(config.name)
        return run(config, folder, **more)

    monkeypatch.setattr(replication, "run", counted)
    (root / folder_of(plan.runs[1]) / "results.json").unlink()
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    arguments = ["replicate", str(tmp_path / "mine.yaml"), "--output", str(root), "--json"]
    monkeypatch.setattr(sys, "argv", ["ensemw2s", *arguments])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert json.loads(capsys.readouterr().out) == json.loads(before) == ladder.model_dump(mode="json")
    assert done == [plan.runs[1].name]
    assert (root / "ladder.json").read_bytes() == before
    assert (root / "ladder.md").read_text() == markdown(ladder)


def test_the_table_fits_eighty_columns_and_shows_every_rung(ladder):
    console = Console(width=80, file=io.StringIO())
    console.print(terminal_table(ladder))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(lines)
    assert "…" not in text
    for number, rung in enumerate(ladder.rungs):  # once for each test
        assert text.count(f"│ {number} {(rung.change or PUBLISHED).split()[0]} ") == 2
    assert "seed 0's" in text
    page = markdown(ladder)
    assert page.count("| 6 everything trained until more changes nothing |") == 2
    assert all(len(line.split(" | ")) == 5 for line in page.splitlines() if line.startswith("| "))
