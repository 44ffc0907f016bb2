"""`method: auto`: the rule by hand, what it costs, and that no sealed label moves it."""

import pytest
import torch

from ensemw2s.config import parse_config
from ensemw2s.export.classifier import load_student
from ensemw2s.pipeline.prepare import check
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.seeds.auto import best, harder_weights
from tiny_run import comparison_rows, merged, tiny_words_tree, write_jsonl


def test_the_harder_half_counts_twice_and_the_first_of_equals_is_taken():
    difficulty = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert harder_weights(difficulty).tolist() == [1.0, 1.0, 2.0, 2.0]
    assert harder_weights(torch.zeros(3)).tolist() == [1.0, 1.0, 1.0]
    easy = torch.tensor([-0.1, -0.1, -1.0, -1.0])
    rows = {"on the easy half": easy, "on the harder half": easy.flip(0), "again": easy.flip(0)}
    assert best(rows, difficulty) == "on the harder half"
    assert best(rows, torch.zeros(4)) == "on the easy half"


@pytest.mark.parametrize("form", ["classes", "words"])
def test_auto_is_one_of_the_rows_costs_them_all_and_is_delivered(form, tiny_config, task_file, tmp_path):
    students = {"method": "auto", "recipes": [{"labels": "hard"}, {"labels": "hard", "with_easy": True}]}
    if form == "classes":
        config = tiny_config(students=students)
    else:
        small = {"seeds": [0], "students": students}  # two seeds are tried with classes
        config = parse_config(merged(tiny_words_tree(task_file), small))
    results = run(config, tmp_path / "run")
    auto = results.row("auto")
    assert results.recommendation.row == "auto"
    [note] = [n for n in results.notes if "`auto` took" in n]
    for s, seed in enumerate(results.seeds):
        [chosen] = [r for r in results.rows if f"the {r.label} (seed {seed})" in note]
        for part, figures in auto.parts.items():
            assert figures["accuracy"].per_seed[s] == chosen.parts[part]["accuracy"].per_seed[s]
    students_cost = [r.cost.flops for r in results.rows if r.kind == "student" and r.key != "auto"]
    assert max(students_cost) < auto.cost.flops < sum(students_cost)
    if form == "classes":
        assert load_student(tmp_path / "run" / "student").log_probs(["Is 90 above 3?"]).shape == (1, 2)


def test_flipping_every_hard_label_leaves_the_choice(tiny_config, tmp_path, task_file):
    rows = comparison_rows()
    plain = run(tiny_config(students={"method": "auto"}), tmp_path / "plain")
    _, split = check(tiny_config())
    easy = {split.examples[i].id for i in split.pools["easy_pool"]}  # whose labels everybody may see
    flipped = [r if r["id"] in easy else r | {"answer": {"yes": "no", "no": "yes"}[r["answer"]]} for r in rows]
    path = write_jsonl(tmp_path / "flipped.jsonl", flipped)
    other = run(tiny_config(students={"method": "auto"}, task={"path": str(path)}), tmp_path / "other")
    assert [n for n in plain.notes if "auto" in n] == [n for n in other.notes if "auto" in n]
    assert plain.row("auto").parts["ood_test"] != other.row("auto").parts["ood_test"]
