"""The evidential loss: by hand, against torch.distributions, alive where relu is dead; how its students are read."""

import math

import pytest
import torch
from pydantic import ValidationError
from test_loss_targets_and_weights import Features, batch, value
from torch.distributions import Dirichlet, kl_divergence

from ensemw2s.config.recipe import Recipe
from ensemw2s.core.labels import everything
from ensemw2s.core.losses import LINKS, CrossEntropy, GlobalStats, WeakBatch
from ensemw2s.core.losses.evidential import Evidential, evidential_risk, kl_to_uniform
from ensemw2s.models.adapting.head import Head
from ensemw2s.train.loop import predict, train
from ensemw2s.train.samples import Supervision
from ensemw2s.train.supervision import StudentData
from tiny_run import stepped


def doubles(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_the_kl_is_the_librarys():
    generator = torch.Generator().manual_seed(0)
    a = 1.0 + 20.0 * torch.rand(4, 6, 3, generator=generator, dtype=torch.float64)
    assert torch.allclose(kl_to_uniform(a), kl_divergence(Dirichlet(a), Dirichlet(torch.ones_like(a))))
    assert float(kl_to_uniform(doubles([1.0, 1.0])).abs()) < 1e-12


def test_the_risk_by_hand():
    # f = (2, -1): a = (3, 1), S = 4. Label 1: -log(1/4); against it speaks a = (3, 1): KL(Dir(3,1) || Dir(1,1)) is
    # log 3 + E log p^2 = log 3 + 2 (psi(3) - psi(4)) = log 3 - 2/3.
    a = doubles([3.0, 1.0])
    kl = math.log(3) - 2 / 3
    assert evidential_risk(a, doubles([0.0, 1.0]), 0.5).item() == pytest.approx(math.log(4) + 0.5 * kl)
    assert evidential_risk(a, doubles([1.0, 0.0]), 1.0).item() == pytest.approx(-math.log(0.75))  # nothing misleads
    logits = doubles([2.0, -1.0])
    members = torch.stack([doubles([0.0, 1.0]), doubles([1.0, 0.0])])
    weak = WeakBatch(soft=doubles([0.5, 0.5]), member=members)
    loss = Evidential(evidence="relu")
    of_members = (math.log(4) + 0.5 * kl - math.log(0.75)) / 2
    stats = GlobalStats(class_bias=torch.zeros(2, dtype=torch.float64))
    found = loss(logits, weak, stats, train_frac=0.5)
    assert found.item() == pytest.approx(0.5 * of_members - 0.5 * math.log(0.75))


@pytest.mark.parametrize("form", ["naive", "joint", "bayesian"])
def test_gradients_are_the_finite_differences(form):
    logits, weak = batch()
    loss = Evidential(form=form)
    stats = loss.stats(logits, weak)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: loss(f, weak, stats, train_frac=0.7), logits)


def test_naive_is_cross_entropy_to_the_mean_and_so_is_joint_without_the_students_own_prediction():
    logits, weak = batch()
    mean = weak._replace(soft=weak.member.mean(0))
    expected = value(CrossEntropy(), logits, mean)
    assert torch.allclose(value(Evidential(form="naive"), logits, weak), expected)
    assert torch.allclose(value(Evidential(form="joint", gamma=0.0), logits, weak), expected)
    assert not torch.allclose(value(Evidential(form="joint"), logits, weak), expected)
    assert not Evidential(form="naive").needs_stats
    assert not Evidential(gamma=0.0).needs_stats


def test_a_student_is_read_as_its_loss_reads_it():
    logits, weak = batch()
    for evidence, add in (("relu", torch.relu), ("softplus", torch.nn.functional.softplus)):
        link = LINKS[Evidential(evidence=evidence).link]
        a = 1 + add(logits)
        assert torch.allclose(link.log_probs(logits).exp(), a / a.sum(-1, keepdim=True))
        one = WeakBatch(soft=weak.soft, member=weak.soft[None])
        found = value(Evidential(evidence=evidence, gamma=0.0), logits, one, train_frac=0.0)
        assert torch.allclose(found, -(weak.soft * link.log_probs(logits)).sum(-1))
    assert all(Evidential(form=form).link == CrossEntropy().link == "softmax" for form in ("naive", "joint"))


@pytest.mark.parametrize(("evidence", "is_alive"), [("relu", False), ("softplus", True)])
def test_evidence_that_died_stays_dead_under_relu_and_comes_back_under_softplus(evidence, is_alive):
    x = 0.5 + torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    truth = (x[:, 0] > x[:, 1]).long()
    soft = torch.nn.functional.one_hot(truth, 2).float()
    module = Head(4, 2, hidden=0, dropout=0.0, init_std=0.0, generator=torch.Generator())
    with torch.no_grad():
        module.score.weight.fill_(-0.5)  # every logit is below 0
    config = stepped(epochs=60, batch_size=16, learning_rate=0.1, weight_decay=0.0)
    lesson = Supervision(torch.arange(64), WeakBatch(soft=soft, member=soft[None]), torch.ones(64))
    loss = Evidential(evidence=evidence)
    train(module, Features(x), lesson, loss, config, seed=0)
    found = predict(module, Features(x), torch.arange(64), link=loss.link)
    assert (float((found.argmax(-1) == truth).float().mean()) > 0.9) is is_alive
    assert bool((module.score.weight == -0.5).all()) is not is_alive


def test_what_is_missing_or_out_of_range_is_named():
    logits, weak = batch()
    with pytest.raises(ValueError, match=r"WeakBatch\.member"):
        value(Evidential(), logits, weak._replace(member=None))
    with pytest.raises(ValueError, match="class biases"):
        Evidential()(logits, weak, GlobalStats(), train_frac=0.0)
    for bad, word in (
        ({"options": {"form": "both"}}, "options.form"),
        ({"options": {"gamma": 1.0}}, "from 0 to below 1"),
        ({"label_model": "majority"}, "leave it out"),
    ):
        with pytest.raises(ValidationError, match=word):
            Recipe.model_validate({"loss": "evidential"} | bad)


@pytest.mark.parametrize("labels", ["soft", "hard"])
def test_members_come_with_the_kept_labels_and_easy_ones_are_true_for_each(labels):
    member = torch.tensor([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [[0.3, 0.7], [0.1, 0.9], [0.6, 0.4]]])
    labelled = everything(member.mean(0))._replace(keep=torch.tensor([True, False, True]))
    recipe = Recipe(loss="evidential", with_easy=True, labels=labels)
    data = StudentData(
        torch.tensor([0]), torch.tensor([1]), torch.tensor([1, 2, 3]), torch.zeros(4), torch.full((3,), -1)
    )
    found = data.by_recipe(recipe, recipe.make_loss(), labelled, member)
    kept = member[:, [0, 2]]
    expected = kept if labels == "soft" else torch.nn.functional.one_hot(kept.argmax(-1), 2).float()
    assert torch.equal(found.targets.member[:, 1:], expected)
    assert found.targets.member[:, 0].tolist() == [[0, 1], [0, 1]]
    assert found.rows.tolist() == [0, 1, 3]
    plain = data.by_recipe(Recipe(), Recipe().make_loss(), labelled, member)
    assert plain.targets.member is None


def test_a_persons_answer_is_every_members():
    member = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.1, 0.9]]])
    people = torch.tensor([-1, 0])
    data = StudentData(torch.tensor([0]), torch.tensor([1]), torch.tensor([1, 2]), torch.zeros(3), people)
    recipe = Recipe(loss="evidential")
    learned = data.by_recipe(recipe, recipe.make_loss(), everything(member.mean(0)), member)
    assert learned.targets.member[:, 1].tolist() == [[1, 0], [1, 0]]
    assert torch.equal(learned.targets.member[:, 0], member[:, 0])
