"""Outside voters in a whole run: their votes teach students, are reported, and no test sees any."""

import json
import random

import pytest
import yaml
from test_kill import assert_nothing_lost, kills_of

from ensemw2s.config import parse_config
from ensemw2s.data.load import load_task
from ensemw2s.data.splits import make_split
from ensemw2s.errors import ConfigError
from ensemw2s.pipeline.run import run
from ensemw2s.report.page import render
from ensemw2s.results.conditions import AUTO
from tiny_run import comparison_rows, merged, tiny_tree, write_jsonl

SMALL = {
    "seeds": [0, 1],
    "ensemble": {"n_rounds": 2, "methods": ["single", "boosting"]},
    "students": {"recipes": [{}, {"label_model": "dawid-skene", "selection": "agreement"}]},
}
RIGHT = {"ann": 0.95, "<b>": 0.8, "rule": 0.9}
"""Share of right votes by voter."""


def votes_of(rows, seed=0):
    """`rule` votes on half of the hard questions alone, the others on most."""
    rng = random.Random(seed)
    found = []
    for row in rows:
        for voter, right in RIGHT.items():
            if rng.random() < (0.9 if voter != "rule" else 0.5 if row["hardness"] > -25 else 0.0):
                label = row["answer"] if rng.random() < right else {"yes": "no", "no": "yes"}[row["answer"]]
                found.append({"id": row["id"], "voter": voter, "label": label})
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("voters")


def tree_of(task_file, votes_file, **changes):
    tree = merged(tiny_tree(task_file), SMALL)
    return merged(merged(tree, {"task": {"votes": str(votes_file)}}), changes)


@pytest.fixture(scope="module")
def finished(place, task_file):
    """The results of a run with votes, and the file of the votes."""
    file = write_jsonl(place / "votes.jsonl", votes_of(comparison_rows()))
    return run(parse_config(tree_of(task_file, file)), place / "run", store_root=place / "store"), file


def ids_of_tests(task_file):
    config = parse_config(merged(tiny_tree(task_file), SMALL))
    split = make_split(load_task(config.task), config.split)
    return {split.examples[row].id for part in split.tests for row in split.pools[part]}


def figures_of(results):
    return results.model_dump(mode="json", exclude={"config", "config_hash", "notes"})


def test_voters_are_reported_with_what_they_are_worth(finished, place):
    results, _ = finished
    assert results.voters is not None
    by_name = {voter.name: voter for voter in results.voters.voters}
    assert list(by_name) == sorted(RIGHT)
    for name, basis in (("ann", "labelled examples"), ("<b>", "labelled examples"), ("rule", "agreement")):
        voter = by_name[name]
        assert voter.basis == basis
        assert voter.coverage == pytest.approx(voter.n_votes / 70)
        assert (voter.n_easy > 0) == (basis == "labelled examples")
        if voter.n_easy:
            assert voter.reliability.low <= RIGHT[name] <= voter.reliability.high
    assert by_name["ann"].weight > by_name["<b>"].weight > 0
    assert results.voters.joined_right.mean > results.voters.models_right.mean + 0.1
    assert 0.8 < results.voters.coverage <= 1
    assert any("3 outside voters have a part in the labels" in note for note in results.notes)
    assert any("on test examples" in note and "left out" in note for note in results.notes)
    page = render(results, None)
    assert 'id="voters"' in page
    assert "&lt;b&gt;" in page
    assert json.loads((place / "run" / "results.json").read_text())["voters"]["method"] == "boosting"


def test_students_learn_from_both_and_ensembles_stay_the_models_alone(finished, place, task_file):
    with_votes, _ = finished
    tree = merged(tiny_tree(task_file), SMALL)
    without = run(parse_config(tree), place / "without", store_root=place / "store")
    assert without.voters is None
    taught = {row.key for row in without.rows if row.condition.teacher is not None or row.condition == AUTO}
    assert taught
    for row in without.rows:
        same = figures_of_row(with_votes, row.key) == figures_of_row(without, row.key)
        assert same == (row.key not in taught), row.key


def test_a_recipe_that_leaves_votes_out_is_that_of_a_run_without_voters(finished, place, task_file):
    recipes = [{"with_easy": True}, {"with_easy": True, "outside_votes": False}]
    both = run(
        parse_config(tree_of(task_file, finished[1], students={"recipes": recipes})),
        place / "both",
        store_root=place / "store",
    )
    tree = merged(merged(tiny_tree(task_file), SMALL), {"students": {"recipes": [{"with_easy": True}]}})
    without = run(parse_config(tree), place / "no voters", store_root=place / "store")
    alone = {row.key for row in both.rows if row.condition.recipe == "xent-soft-models-alone+easy"}
    assert len(alone) == 3  # self-training, single, boosting
    for key in alone:
        plain = key.replace("-models-alone", "")
        assert figures_of_row(both, key) == figures_of_row(without, plain)
        assert figures_of_row(both, plain) != figures_of_row(without, plain)


def test_leaving_out_votes_that_are_not_there_is_refused(task_file):
    tree = merged(tiny_tree(task_file), {"students": {"recipes": [{}, {"outside_votes": False}]}})
    with pytest.raises(ConfigError, match="xent-soft-models-alone leaves outside votes out, and files has none"):
        parse_config(tree)


def figures_of_row(results, key):
    row = results.row(key)
    return {part: {name: f.per_seed for name, f in figures.items()} for part, figures in row.parts.items()}, row.cost


def test_garbage_on_the_tests_changes_nothing(finished, place, task_file):
    results, _ = finished
    tested = ids_of_tests(task_file)
    kept = [row for row in votes_of(comparison_rows()) if row["id"] not in tested]
    garbage = [{"id": name, "voter": voter, "label": "yes"} for name in tested for voter in RIGHT]
    spoilt = write_jsonl(place / "spoilt.jsonl", garbage + kept)
    again = run(parse_config(tree_of(task_file, spoilt)), place / "spoilt", store_root=place / "other")
    assert figures_of(again) == figures_of(results)


@pytest.mark.timeout(600)
def test_a_killed_run_with_votes_ends_as_an_undisturbed_one(tmp_path, task_file):
    file = write_jsonl(tmp_path / "votes.jsonl", votes_of(comparison_rows()))
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tree_of(task_file, file, seeds=[0])))
    assert len(kills_of(config, tmp_path, 5)) == 5
    assert_nothing_lost(tmp_path)
