"""Label models by hand, against crowd-kit, on planted votes, and where their assumptions do not hold."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from crowdkit.aggregation import DawidSkene as Reference
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn.functional import one_hot

from ensemw2s.core.labels import LABEL_MODELS, Votes, everything
from ensemw2s.core.labels.confusion import DawidSkene, Glws, expectation_maximisation
from ensemw2s.core.labels.students import CoSupervised, NextRound, Raven, mixed, simplex_weights, specialists
from ensemw2s.core.labels.votes import Alpha, Majority, Vote
from ensemw2s.recipes import Recipe

N, K = 2000, 3


def votes_of(answers, k=K, weights=None, sure=0.8):
    """Votes of members that give their answer this probability and share out the rest."""
    member = one_hot(answers, k) * (sure - (1 - sure) / (k - 1)) + (1 - sure) / (k - 1)
    weights = torch.ones(len(answers)) if weights is None else weights
    return Votes(member.float(), weights, member.float().mean(0))


def planted(rights, n=N, k=K, seed=0):
    """Truth, and answers of members that are right this often, whatever the others say; the errors are even."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(k, (n,), generator=generator)
    answers = []
    for right in rights:
        wrong = (truth + torch.randint(1, k, (n,), generator=generator)) % k
        answers.append(torch.where(torch.rand(n, generator=generator) < right, truth, wrong))
    return truth, torch.stack(answers)


def never(_labelled):
    raise AssertionError("this model asks no student")


def test_votes_by_hand():
    votes = votes_of(torch.tensor([[0, 1], [0, 2], [1, 2]]), weights=torch.tensor([1.0, 0.0, 3.0]))
    assert torch.allclose(Majority()(votes, never).soft, torch.tensor([[2 / 3, 1 / 3, 0.0], [0.0, 1 / 3, 2 / 3]]))
    assert torch.allclose(Alpha()(votes, never).soft, torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.25, 0.75]]))
    assert torch.equal(Vote()(votes, never).soft, votes.soft)
    nobody = votes._replace(weights=torch.zeros(3))
    assert torch.allclose(Alpha()(nobody, never).soft, Majority()(votes, never).soft)


def test_one_step_of_expectation_maximisation_by_hand():
    ballot = one_hot(torch.tensor([[0, 1], [0, 0]]), 2).double()  # two members, two examples
    prior = torch.tensor([[0.5, 0.5], [0.2, 0.8]])
    fit = expectation_maximisation(ballot, prior, smoothing=1.0, max_steps=1)
    # Majority q: (1, 0) and (.5, .5). Member 0 said 0 then 1, member 1 said 0 twice; rows are the truth.
    c0 = torch.tensor([[2.0, 1.5], [1.0, 1.5]]) / torch.tensor([[3.5], [2.5]])
    c1 = torch.tensor([[2.5, 1.0], [1.5, 1.0]]) / torch.tensor([[3.5], [2.5]])
    assert torch.allclose(fit.confusion, torch.stack([c0, c1]).double())
    second = torch.tensor([0.2 * c0[0, 1] * c1[0, 0], 0.8 * c0[1, 1] * c1[1, 0]]).double()
    assert torch.allclose(fit.soft[1], second / second.sum())


def test_dawid_skene_is_crowd_kits():
    _, answers = planted([0.9, 0.7, 0.6, 0.5], n=300)
    long = pd.DataFrame(
        [
            {"task": i, "worker": m, "label": int(answer)}
            for m, row in enumerate(answers)
            for i, answer in enumerate(row.tolist())
        ]
    )
    theirs = Reference(n_iter=500, tol=1e-9).fit_predict_proba(long).sort_index()
    ours = expectation_maximisation(one_hot(answers, K).double(), None, smoothing=0.0, max_steps=500).soft
    assert torch.allclose(ours, torch.tensor(theirs[list(range(K))].to_numpy()), atol=2e-3)


def test_planted_confusions_are_recovered_and_beat_the_majority():
    truth, answers = planted([0.95, 0.55, 0.5, 0.5, 0.45])
    ballot = one_hot(answers, K).double()
    fit = expectation_maximisation(ballot, None, smoothing=0.01)
    for m, right in enumerate([0.95, 0.55, 0.5, 0.5, 0.45]):
        expected = torch.full((K, K), (1 - right) / (K - 1), dtype=torch.float64).fill_diagonal_(right)
        assert (fit.confusion[m] - expected).abs().max() < 0.06
    ours = (fit.soft.argmax(-1) == truth).double().mean()
    assert ours > 0.93 > (ballot.mean(0).argmax(-1) == truth).double().mean()
    assert torch.equal(DawidSkene()(votes_of(answers), never).soft, fit.soft.float())


def test_dawid_skene_is_overconfident_where_members_err_together():
    truth, answers = planted([0.7, 0.7])
    together = torch.cat([answers[:1].repeat(5, 1), answers[1:]])  # five copies of one member, and another
    soft = DawidSkene()(votes_of(together), never).soft
    right = (soft.argmax(-1) == truth).double().mean()
    assert abs(right - 0.7) < 0.03  # it follows the copies
    assert soft.amax(-1).mean() > right + 0.25  # and believes them far too much


def test_the_student_as_prior_decides_where_the_members_are_even():
    truth, answers = planted([0.6, 0.6, 0.6])
    asked = []

    def learn(labelled):
        asked.append(labelled.soft)
        student = torch.full((N, K), 0.05)
        return student.scatter(1, truth[:, None], 0.9)

    ours = Glws(rounds=3)(votes_of(answers), learn).soft
    assert len(asked) == 3 == Glws(rounds=3).n_students
    alone = DawidSkene()(votes_of(answers), never).soft
    accuracy = [(soft.argmax(-1) == truth).double().mean() for soft in (alone, ours)]
    assert accuracy[1] > accuracy[0] + 0.1


def test_learned_weights_find_the_member_that_the_student_agrees_with():
    truth, answers = planted([0.95, 0.5, 0.5])
    votes = votes_of(answers)
    log_probs = votes.member.double().log()
    student = votes_of(truth[None]).soft
    start = torch.full((3,), 1 / 3, dtype=torch.float64)
    found = simplex_weights(log_probs, student, start, steps=200, learning_rate=0.5)
    assert found.sum().item() == pytest.approx(1.0)
    assert found[0] > 0.9
    one = simplex_weights(log_probs, student, start, steps=1, learning_rate=1e-3)
    nudge = torch.tensor([1e-4, -5e-5, -5e-5], dtype=torch.float64)

    def loss(weights):
        return -(mixed(log_probs, weights) * student.double().log()).sum(-1).mean()

    assert loss(one) < loss(start)
    assert (loss(start + nudge) < loss(start)) == bool((one - start) @ nudge > 0)


def test_specialists_by_hand():
    member = torch.tensor([[[0.9, 0.1], [0.6, 0.4]], [[0.3, 0.7], [0.1, 0.9]]])
    student = torch.tensor([[0.8, 0.2], [0.45, 0.55]])
    found = specialists(member, student)
    assert torch.equal(found.soft, torch.stack([member[0, 0], member[0, 1]]))
    assert found.keep.tolist() == [True, False]
    assert specialists(member, student.flip(1)[:, [0, 1]]).keep.any()


def test_the_next_round_learns_what_the_last_student_says():
    given_out = []

    def learn(labelled):
        given_out.append(labelled.soft)
        return labelled.soft.roll(1, dims=1)

    votes = votes_of(torch.tensor([[0, 1]]))
    found = NextRound(rounds=2)(votes, learn)
    assert torch.equal(given_out[0], votes.soft)
    assert torch.equal(found.soft, votes.soft.roll(2, dims=1))


@pytest.mark.parametrize("name", LABEL_MODELS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n_members=st.integers(1, 4), scale=st.sampled_from([0.1, 3.0, 100.0]))
def test_labels_are_distributions_in_the_order_of_the_examples(name, seed, n_members, scale):
    generator = torch.Generator().manual_seed(seed)
    member = (scale * torch.randn(n_members, 12, K, generator=generator)).softmax(-1)
    votes = Votes(member, torch.rand(n_members, generator=generator), member.mean(0))
    asked = []

    def learn(labelled):
        asked.append(labelled)
        return labelled.soft

    model = LABEL_MODELS[name]()
    found = model(votes, learn)
    assert len(asked) == model.n_students
    assert torch.allclose(found.soft.sum(-1), torch.ones(12), atol=1e-4)
    assert torch.isfinite(found.soft).all()
    assert found.keep.any()
    order = torch.randperm(12, generator=generator)
    shuffled = model(Votes(member[:, order], votes.weights, votes.soft[order]), learn)
    assert torch.allclose(shuffled.soft, found.soft[order], atol=1e-4)


def test_a_recipe_names_its_label_model_and_refuses_others():
    assert Recipe(label_model="glws", label_model_options={"rounds": 1}).name == "xent-soft-glws[rounds=1]"
    for bad, word in (
        ({"label_model": "crowd"}, "label_model: there is no 'crowd'; choose one of vote, majority"),
        ({"label_model": "glws", "label_model_options": {"round": 1}}, "label_model_options: glws has no 'round'"),
        ({"label_model": "glws", "label_model_options": {"rounds": 0}}, "give 1"),
        ({"label_model": "raven", "label_model_options": {"steps": 0}}, "must be positive"),
        ({"label_model": "dawid-skene", "label_model_options": {"smoothing": -1}}, "0 or more"),
    ):
        with pytest.raises(ValidationError, match=word):
            Recipe.model_validate(bad)
    for kind in (CoSupervised, NextRound):
        with pytest.raises(ValueError, match="1 or more"):
            kind(rounds=0)
    assert Raven(rounds=3).n_students == 3
    assert everything(torch.ones(2, 1)).keep.all()


@pytest.mark.parametrize("name", LABEL_MODELS)
def test_every_label_model_has_its_page(name):
    docs = Path(__file__).parents[2] / "docs" / "methods"
    assert f"(`{name}`)" in (docs / f"{name}.md").read_text()
    assert f"({name}.md)" in (docs / "README.md").read_text()
