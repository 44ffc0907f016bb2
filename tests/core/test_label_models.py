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

from ensemw2s.config.recipe import Recipe
from ensemw2s.core.labels import Votes, everything
from ensemw2s.core.labels.confusion import DawidSkene, Glws, expectation_maximisation
from ensemw2s.core.labels.students import (
    CoSupervised,
    NextRound,
    Raven,
    loss_and_slope,
    mixed,
    nearest_on_simplex,
    simplex_weights,
    specialists,
)
from ensemw2s.core.labels.votes import Alpha, Majority, Vote, vote_share
from ensemw2s.tables import LABEL_MODELS
from tiny_run import READ_JUDGES

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
    answer = torch.tensor([[0, 1], [0, 0]])  # two members, two examples
    prior = torch.tensor([[0.5, 0.5], [0.2, 0.8]])
    fit = expectation_maximisation(answer, 2, prior, smoothing=1.0, max_steps=1)
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
    ours = expectation_maximisation(answers, K, None, smoothing=0.0, max_steps=500).soft
    assert torch.allclose(ours, torch.tensor(theirs[list(range(K))].to_numpy()), atol=2e-3)


def test_planted_confusions_are_recovered_and_beat_the_majority():
    rights = [0.95, 0.55, 0.5, 0.5, 0.45]
    truth, answers = planted(rights, n=20_000)
    fit = expectation_maximisation(answers, K, None, smoothing=0.01)
    for m, right in enumerate(rights):
        expected = torch.full((K, K), (1 - right) / (K - 1), dtype=torch.float64).fill_diagonal_(right)
        assert (fit.confusion[m] - expected).abs().max() < 0.04
    ours = (fit.soft.argmax(-1) == truth).double().mean()
    majority = (vote_share(answers, K).argmax(-1) == truth).double().mean()
    assert ours > 0.93 > majority + 0.1
    assert torch.equal(DawidSkene()(votes_of(answers), never).soft, fit.soft.float())


answer_tables = st.tuples(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([0.0, 0.01, 1.0]), st.booleans())


@settings(max_examples=40, deadline=None)
@given(answer_tables)
def test_no_step_of_expectation_maximisation_lowers_its_objective(drawn):
    seed, n_members, smoothing, has_prior = drawn
    generator = torch.Generator().manual_seed(seed)
    answers = torch.randint(K, (n_members, 30), generator=generator)
    prior = torch.randn(30, K, generator=generator).softmax(-1) if has_prior else None
    fit = expectation_maximisation(answers, K, prior, smoothing=smoothing)
    steps = torch.tensor(fit.objective, dtype=torch.float64)
    assert (steps.diff() >= -1e-5).all()


def test_the_objective_is_the_likelihood_of_the_votes_example_by_example():
    _, answers = planted([0.8, 0.6], n=20)
    prior = torch.full((20, K), 1 / K)
    fit = expectation_maximisation(answers, K, prior, smoothing=1.0, max_steps=7)
    expected = float(fit.confusion.log().sum())
    for i in range(20):
        given_truth = [fit.confusion[0, y, answers[0, i]] * fit.confusion[1, y, answers[1, i]] / K for y in range(K)]
        expected += float(torch.stack(given_truth).sum().log())
    assert fit.objective[-1] == pytest.approx(expected)


def test_the_majority_says_which_class_is_which():
    truth, answers = planted([0.7, 0.65, 0.6])
    plain = expectation_maximisation(answers, K, None, smoothing=0.01).soft
    assert (plain.argmax(-1) == truth).double().mean() > 0.6  # classes that traded places would give 0.2
    renamed = torch.tensor([2, 0, 1])
    again = expectation_maximisation(renamed[answers], K, None, smoothing=0.01).soft
    assert torch.allclose(again[:, renamed], plain, atol=1e-4)


def test_members_that_err_together_outvote_better_ones_in_every_model_of_the_votes():
    truth, answers = planted([0.55, 0.9, 0.9])
    twins = torch.cat([answers[:1].repeat(3, 1), answers[1:]])  # three copies of one bad member, two good ones
    right = {}
    for name in ("majority", "alpha", "dawid-skene"):
        found = LABEL_MODELS[name]()(votes_of(twins), never).soft
        right[name] = float((found.argmax(-1) == truth).double().mean())
    assert all(abs(share - 0.55) < 0.05 for share in right.values())
    # A student that knows better frees those that weigh or choose members by it. To glws it is one prior against
    # three agreeing witnesses, whose errors they then attest to each other.
    said = votes_of(truth[None], sure=0.9).soft
    for name in ("glws", "raven", "co-supervised"):
        found = LABEL_MODELS[name]()(votes_of(twins), lambda labelled: said)
        right[name] = float((found.soft.argmax(-1) == truth)[found.keep].double().mean())
    assert right["glws"] < 0.6
    assert min(right["raven"], right["co-supervised"]) > 0.85


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


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.3, 3.0, 100.0]))
def test_descent_on_the_weights_never_raises_the_loss_and_ends_at_a_minimum_on_the_simplex(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    log_probs = (scale * torch.randn(4, 9, K, generator=generator)).log_softmax(-1).clamp_min(-27.0)
    student = torch.randn(9, K, generator=generator).softmax(-1)
    start = torch.full((4,), 0.25, dtype=torch.float64)
    losses = []
    for steps in (1, 5, 500):
        found = simplex_weights(log_probs, student, start, steps=steps, learning_rate=0.1)
        assert (found >= 0).all()
        assert float(found.sum()) == pytest.approx(1.0)
        losses.append(loss_and_slope(log_probs, student, found))
    assert [loss for loss, _ in losses] == sorted((loss for loss, _ in losses), reverse=True)
    assert losses[0][0] <= loss_and_slope(log_probs, student, start)[0]
    # To first order nothing on the simplex is lower: no corner lies downhill.
    slope = losses[-1][1]
    assert float(slope @ found - slope.min()) < 1e-2


def test_the_slope_of_the_weights_is_autograds():
    votes = votes_of(planted([0.8, 0.6], n=40)[1])
    log_probs, student = votes.member.log(), torch.randn(40, K).softmax(-1)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    loss = -(mixed(log_probs, weights) * student.double().log()).sum(-1).mean()
    (slope,) = torch.autograd.grad(loss, weights)
    found = loss_and_slope(log_probs, student, weights.detach())
    assert found[0] == pytest.approx(float(loss.detach()))
    assert torch.allclose(found[1], slope)


def test_the_nearest_point_of_the_simplex_by_hand():
    point = torch.tensor([0.9, 0.5, -1.0], dtype=torch.float64)
    assert torch.allclose(nearest_on_simplex(point), torch.tensor([0.7, 0.3, 0.0], dtype=torch.float64))


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


@pytest.mark.parametrize("name", [name for name in LABEL_MODELS if name not in READ_JUDGES])
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


def test_on_a_ridge_dawid_skene_does_not_hang_on_the_order_of_the_examples():
    """A case that hypothesis found: two members, and rounding decided."""
    test_labels_are_distributions_in_the_order_of_the_examples.hypothesis.inner_test("dawid-skene", 828, 2, 0.1)


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


@pytest.mark.parametrize("name", [name for name in LABEL_MODELS if name not in READ_JUDGES])
def test_every_label_model_has_its_page(name):
    docs = Path(__file__).parents[2] / "docs" / "methods"
    assert f"(`{name}`)" in (docs / f"{name}.md").read_text()
    assert f"({name}.md)" in (docs / "README.md").read_text()
