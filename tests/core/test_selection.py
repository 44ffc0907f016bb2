"""Selections by hand, against brute force and on planted truth."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ensemw2s.config import parse_config
from ensemw2s.config.recipe import Recipe
from ensemw2s.core.labels import Labelled, everything
from ensemw2s.core.selection import Evidence
from ensemw2s.core.selection.base import best_share
from ensemw2s.core.selection.knowledge import SelfKnowledge
from ensemw2s.core.selection.scores import Agreement, All, Confidence, Consistent, Neighbours, TopRho
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.run import run
from ensemw2s.services.planning.plan import make_plan
from ensemw2s.storage.store import Store
from ensemw2s.tables import LABEL_MODELS, SELECTIONS
from tiny_run import READ_JUDGES, comparison_rows, merged, tiny_tree, write_jsonl


def evidence(member=None, own=None, trusted_own=None, trusted_labels=None, features=None):
    n = next(len(t) for t in (own, features, member[0] if member is not None else None) if t is not None)
    even = torch.full((n, 2), 0.5)
    return Evidence(
        member=even[None] if member is None else member,
        own=even if own is None else own,
        trusted_own=even[:1] if trusted_own is None else trusted_own,
        trusted_labels=torch.zeros(1, dtype=torch.long) if trusted_labels is None else trusted_labels,
        features=lambda: (torch.zeros(n, 1), torch.zeros(1, 1)) if features is None else features,
    )


def soft(*first):
    p = torch.tensor(first)
    return torch.stack([p, 1 - p], dim=1)


def test_the_best_share_takes_the_earlier_of_equals_and_at_least_one():
    score = torch.tensor([0.5, 0.9, 0.9, 0.1])
    candidates = torch.tensor([True, True, True, False])
    assert best_share(score, candidates, 0.34).tolist() == [False, True, False, False]
    assert best_share(score, candidates, 1.0).tolist() == candidates.tolist()
    assert best_share(score, candidates, 1e-6).sum() == 1


def test_confidence_is_compared_within_each_class():
    labelled = everything(soft(0.9, 0.8, 0.7, 0.6, 0.4, 0.3))
    keep = Confidence(share=0.5)(labelled, evidence(own=labelled.soft)).keep
    assert keep.tolist() == [True, True, False, False, False, True]


def test_agreement_counts_members_of_the_label_and_never_keeps_none():
    member = torch.stack([soft(0.9, 0.9, 0.1), soft(0.9, 0.1, 0.9), soft(0.9, 0.9, 0.1)])
    labelled = everything(soft(0.9, 0.8, 0.2))
    told = evidence(member=member)
    assert Agreement(least=1.0)(labelled, told).keep.tolist() == [True, False, False]
    assert Agreement(least=2 / 3)(labelled, told).keep.tolist() == [True, True, True]
    without = Labelled(labelled.soft, torch.tensor([False, True, True]))
    assert Agreement(least=1.0)(without, told).keep.tolist() == [False, True, True]


def test_consistent_keeps_what_the_strong_model_says_itself_and_never_nothing():
    labelled = Labelled(soft(0.9, 0.2, 0.6, 0.7), torch.tensor([True, True, True, False]))
    own = soft(0.6, 0.9, 0.8, 0.9)
    assert Consistent()(labelled, evidence(own=own)).keep.tolist() == [True, False, True, False]
    assert Consistent()(labelled, evidence(own=1 - own)).keep.tolist() == [False, True, False, False]
    other = evidence(own=own)._replace(own_answer=torch.tensor([1, 0, 1, 0]))  # not the likeliest of its own
    assert Consistent()(labelled, other).keep.tolist() == labelled.keep.tolist()


def test_neighbours_are_those_of_brute_force():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 5, generator=generator)
    labelled = everything(torch.randn(40, 3, generator=generator).softmax(-1))
    unit = features / features.norm(dim=1, keepdim=True)
    near = (unit @ unit.T).fill_diagonal_(-2.0).topk(7, dim=1).indices
    expected = torch.stack([labelled.soft[near[i], labelled.soft[i].argmax()].mean() for i in range(40)])
    told = evidence(own=labelled.soft, features=(features, features))
    assert torch.allclose(Neighbours(k=7).score(labelled, told), expected)
    assert Neighbours(k=7, share=0.25)(labelled, told).keep.sum() == 10
    alone = everything(soft(0.7))
    assert Neighbours()(alone, evidence(own=alone.soft, features=(features[:1], features))).keep.all()


def test_top_rho_keeps_the_least_loss_under_the_model_of_trusted_labels():
    labelled = everything(soft(1.0, 1.0, 0.0, 0.0))
    own = soft(0.9, 0.2, 0.6, 0.3)  # losses: -log .9, .2, .4, .7
    assert TopRho(rho=0.5)(labelled, evidence(own=own)).keep.tolist() == [True, False, False, True]
    assert TopRho()(labelled, evidence(own=own)).keep.tolist() == [True, False, False, False]


def test_self_knowledge_finds_where_the_strong_model_is_right():
    generator = torch.Generator().manual_seed(0)

    def plant(n):
        features = torch.randn(n, 4, generator=generator)
        truth = torch.randint(2, (n,), generator=generator)
        said = torch.where(features[:, 0] > 0, truth, 1 - truth)  # right on one side of a plane, wrong on the other
        return features, truth, torch.where(said[:, None] == torch.arange(2), 0.8, 0.2)

    features, truth, own = plant(500)
    trusted, trusted_labels, trusted_own = plant(400)
    right = torch.rand(500, generator=generator) < 0.75
    weak = torch.where((torch.where(right, truth, 1 - truth))[:, None] == torch.arange(2), 0.75, 0.25)
    told = evidence(own=own, trusted_own=trusted_own, trusted_labels=trusted_labels, features=(features, trusted))
    found = SelfKnowledge(regularisation=1.0)(Labelled(weak, torch.ones(500, dtype=torch.bool)), told)
    accuracy = [(labels.argmax(-1) == truth).double().mean() for labels in (own, weak, found.soft)]
    assert accuracy[2] > max(accuracy[:2]) + 0.08
    always = told._replace(trusted_labels=trusted_own.argmax(-1))
    assert (SelfKnowledge().trust(always) == 1.0).all()


@pytest.mark.parametrize("name", SELECTIONS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 30))
def test_something_is_kept_and_labels_stay_distributions(name, seed, n):
    generator = torch.Generator().manual_seed(seed)
    member = torch.randn(3, n, 3, generator=generator).softmax(-1)
    keep = torch.rand(n, generator=generator) < 0.5
    keep[0] = True
    labelled = Labelled(member.mean(0), keep)
    told = Evidence(
        member,
        torch.randn(n, 3, generator=generator).softmax(-1),
        torch.randn(9, 3, generator=generator).softmax(-1),
        torch.randint(3, (9,), generator=generator),
        lambda: (torch.randn(n, 4, generator=generator), torch.randn(9, 4, generator=generator)),
    )
    found = SELECTIONS[name]()(labelled, told)
    assert found.keep.any()
    assert torch.allclose(found.soft.sum(-1), torch.ones(n), atol=1e-5)
    if torch.equal(found.soft, labelled.soft):
        assert not (found.keep & ~keep).any()


def test_a_recipe_names_its_selection_and_refuses_others():
    assert Recipe(selection="top-rho", selection_options={"rho": 0.3}).name == "xent-soft-top-rho[rho=0.3]"
    for bad, word in (
        ({"selection": "best"}, "selection: there is no 'best'; choose one of all, confidence"),
        ({"selection": "all", "selection_options": {"share": 1}}, "it has none"),
        ({"selection": "confidence", "selection_options": {"share": 0}}, "a share above 0"),
        ({"selection": "neighbours", "selection_options": {"k": 0}}, "1 or more"),
        ({"selection": "self-knowledge", "selection_options": {"regularisation": 0}}, "above 0"),
    ):
        with pytest.raises(ValidationError, match=word):
            Recipe.model_validate(bad)
    assert All().reads_own is False


def test_a_run_trains_a_student_by_every_label_model_and_selection(task_file, tmp_path):
    recipes = [{"label_model": name} for name in LABEL_MODELS if name not in READ_JUDGES]
    recipes += [{"selection": name} for name in SELECTIONS if name != "all"]
    recipes += [{"label_model": "co-supervised", "selection": "self-knowledge", "loss": "group", "with_easy": True}]
    changes = {"seeds": [0], "ensemble": {"methods": ["bagging"], "n_rounds": 3}, "students": {"recipes": recipes}}
    config = parse_config(merged(tiny_tree(task_file), changes))
    results = run(config, tmp_path / "run", store_root=tmp_path / "store")
    plain = results.row("student:bagging:xent-soft").cost.training_tokens
    costs = {}
    for recipe in config.students.recipes:
        row = results.row(f"student:bagging:{recipe.name}")
        assert 0 < row.parts["ood_test"]["log_loss"].per_seed[0] < 10
        costs[recipe.name] = row.cost.training_tokens
    # Students on the way count; so does the strong model that a selection asks.
    assert costs["xent-soft-glws"] > costs["xent-soft-next-round"] > plain == costs["xent-soft-dawid-skene"]
    assert costs["xent-soft-confidence"] < plain
    planned = {line.what: line.count for line in make_plan(config, calibrated=False).lines}
    n_asked = sum(recipe.make_label_model().n_students for recipe in config.students.recipes)
    assert planned["a label model's student"] == 2 * n_asked


RECIPES = [{"label_model": name} for name in LABEL_MODELS if name not in READ_JUDGES] + [
    {"selection": name} for name in SELECTIONS if name != "all"
]


def small_run(task_file, folder, **changes):
    """One ensemble and one student for every label model and selection."""
    tree = {"seeds": [0], "ensemble": {"methods": ["bagging"], "n_rounds": 3}, "students": {"recipes": RECIPES}}
    config = parse_config(merged(merged(tiny_tree(task_file), tree), changes))
    return config, run(config, folder / "run", store_root=folder / "store")


def test_eight_accumulated_batches_of_one_equal_one_of_eight(task_file, tmp_path):
    found = []
    for micro in (1, 8):
        training = {"batch_size": 8, "micro_batch_size": micro, "dropout": 0.0, "epochs": 1}
        config, results = small_run(task_file, tmp_path / str(micro), student_training=training)
        rows = [results.row(f"student:bagging:{recipe.name}") for recipe in config.students.recipes]
        found.append([row.parts["ood_test"]["log_loss"].per_seed[0] for row in rows])
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_no_label_model_and_no_selection_sees_a_sealed_label(tmp_path):
    rows, other = comparison_rows(), {"yes": "no", "no": "yes"}
    file = write_jsonl(tmp_path / "questions.jsonl", rows)
    config, plain = small_run(file, tmp_path / "plain")
    split = prepare(config, Store(tmp_path / "plain" / "store"), lambda model, n: None).split
    sealed = {e.id for e in split.examples if e.answer is None}
    write_jsonl(file, [r | {"answer": other[r["answer"]]} if r["id"] in sealed else r for r in rows])
    _, flipped = small_run(file, tmp_path / "flipped")
    for recipe in config.students.recipes:
        before, after = (r.row(f"student:bagging:{recipe.name}").parts for r in (plain, flipped))
        assert before["easy_val"] == after["easy_val"]
        accuracy = [parts["ood_test"]["accuracy"].per_seed[0] for parts in (before, after)]
        assert accuracy[0] == pytest.approx(1 - accuracy[1])


@pytest.mark.parametrize("name", SELECTIONS)
def test_every_selection_has_its_page(name):
    docs = Path(__file__).parents[2] / "docs" / "methods"
    assert f"(`{name}`)" in (docs / f"{name}.md").read_text()
    assert f"({name}.md)" in (docs / "README.md").read_text()
