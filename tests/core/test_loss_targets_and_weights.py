"""Each loss by hand or against the library's own; each in its limits; accumulated like whole."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn.functional import cross_entropy, one_hot

from ensemw2s.config import parse_config
from ensemw2s.config.recipe import Recipe
from ensemw2s.core.losses import CrossEntropy, GlobalStats, WeakBatch
from ensemw2s.core.losses.targets import Entropy, Product, Smoothing
from ensemw2s.core.losses.weights import Adaptive, Group, Window
from ensemw2s.models.adapting.head import Head
from ensemw2s.pipeline.run import run
from ensemw2s.tables import LOSSES
from ensemw2s.train.loop import train
from ensemw2s.train.samples import Supervision
from ensemw2s.train.supervision import difficulty_bins, weights_and_pace
from tiny_run import merged, stepped, tiny_tree

N, K = 8, 3


def batch(n=N, k=K, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits, soft = torch.randn(2, n, k, generator=generator, dtype=torch.float64)
    member = torch.randn(3, n, k, generator=generator, dtype=torch.float64).softmax(-1)
    return logits, WeakBatch(soft=soft.softmax(-1), member=member, group=torch.arange(n) % 3)


def value(loss, logits, weak, train_frac=1.0):
    return loss(logits, weak, loss.stats(logits, weak), train_frac=train_frac)


LOGITS = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64)  # s = (3/4, 1/4)
WEAK = WeakBatch(soft=torch.tensor([[0.2, 0.8]], dtype=torch.float64))
XENT = -(0.2 * math.log(0.75) + 0.8 * math.log(0.25))


def test_product_by_hand():
    # s q = (.15, .2), normalised (3/7, 4/7).
    expected = -(3 / 7 * math.log(0.75) + 4 / 7 * math.log(0.25))
    assert value(Product(), LOGITS, WEAK).item() == pytest.approx(expected)
    assert value(Product(beta=0.0), LOGITS, WEAK).item() == pytest.approx(XENT)


def test_entropy_by_hand_halfway_up_its_ramp():
    own = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    found = value(Entropy(aux_coef=0.4, warmup_frac=0.5), LOGITS, WEAK, train_frac=0.25)
    assert found.item() == pytest.approx(0.8 * XENT + 0.2 * own)


def test_smoothing_is_the_librarys_label_smoothing_where_the_teacher_is_certain_or_not():
    logits, _ = batch()
    labels = torch.arange(N) % K
    certain = WeakBatch(soft=one_hot(labels, K).double())
    assert torch.allclose(value(Smoothing(v_max=0.3), logits, certain), cross_entropy(logits, labels, reduction="none"))
    even = WeakBatch(soft=torch.full((N, K), 1 / K, dtype=torch.float64))
    expected = cross_entropy(logits, labels, reduction="none", label_smoothing=1.0)
    assert torch.allclose(value(Smoothing(v_max=0.3), logits, even), expected)
    half = WEAK._replace(soft=torch.tensor([[0.2, 0.8]], dtype=torch.float64))
    v = 0.3 * -(0.2 * math.log(0.2) + 0.8 * math.log(0.8)) / math.log(2)
    target = torch.tensor([(1 - v) * 0.2 + v / 2, (1 - v) * 0.8 + v / 2], dtype=torch.float64)
    assert value(Smoothing(v_max=0.3), LOGITS, half).item() == pytest.approx(
        -float((target * LOGITS.log_softmax(-1)).sum())
    )


def test_adaptive_by_hand_and_both_signs():
    # The student says class 0 (CE -log .75), the teacher class 1 (CE -log .25): the odds of w are (1/.75) / (1/.25).
    w = 1 / 4
    own = -math.log(0.75)
    assert value(Adaptive(), LOGITS, WEAK).item() == pytest.approx((1 - w) * XENT + w * own)
    assert value(Adaptive(sign="reversed"), LOGITS, WEAK).item() == pytest.approx(w * XENT + (1 - w) * own)
    logits = torch.tensor([[9.0, 0.0]], requires_grad=True)
    agreed = WeakBatch(soft=torch.tensor([[1.0, 0.0]]))
    assert torch.allclose(value(Adaptive(), logits, agreed), value(CrossEntropy(), logits, agreed))


def test_the_window_keeps_what_the_student_is_unsure_of():
    logits = torch.tensor([[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]])  # s = .5, .62, .73
    weak = WeakBatch(soft=torch.full((3, 2), 0.5))
    kept = value(Window(radius=0.15), logits, weak) > 0
    assert kept.tolist() == [True, True, False]


def test_group_weights_give_the_gradient_of_mean_plus_variance():
    logits, weak = batch()
    logits.requires_grad_()
    value(Group(beta=0.7), logits, weak).mean().backward()
    again = logits.detach().clone().requires_grad_()
    losses = value(CrossEntropy(), again, weak)
    means = torch.stack([losses[weak.group == g].mean() for g in range(3)])
    (means.mean() + 0.7 * means.var(correction=0)).backward()
    assert torch.allclose(logits.grad, again.grad)


def test_groups_that_are_not_in_the_batch_do_not_count():
    logits, weak = batch()
    weak = weak._replace(group=torch.tensor([0, 5] * 4))
    assert torch.isfinite(value(Group(), logits, weak)).all()
    alone = weak._replace(group=torch.zeros(N, dtype=torch.long))
    assert torch.allclose(value(Group(beta=3.0), logits, alone), value(CrossEntropy(), logits, alone))


def test_what_is_missing_is_named():
    logits, weak = batch()
    with pytest.raises(ValueError, match="group"):
        Group().stats(logits, weak._replace(group=None))
    with pytest.raises(ValueError, match="group"):
        Group()(logits, weak, GlobalStats(), train_frac=0.0)


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=25, deadline=None)
@given(scale=st.sampled_from([1e-3, 1.0, 30.0, 300.0]), seed=st.integers(0, 10**6))
def test_values_and_gradients_are_finite_and_one_per_example(name, scale, seed):
    logits, weak = batch(seed=seed)
    logits = (scale * logits).requires_grad_()
    found = value(LOSSES[name](), logits, weak)
    assert found.shape == (N,)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(logits.grad).all()


class Features:
    def __init__(self, values):
        self.values, self.lengths = values, torch.ones(len(values), dtype=torch.long)

    def batch(self, rows):
        return self.values[rows].unsqueeze(1), torch.ones(len(rows), 1, dtype=torch.long)


@pytest.mark.parametrize("name", LOSSES)
def test_eight_accumulated_batches_of_one_equal_one_of_eight(name):
    generator = torch.Generator().manual_seed(1)
    inputs = Features(torch.randn(24, 5, generator=generator))
    soft = torch.randn(24, K, generator=generator).softmax(-1)
    member = torch.randn(3, 24, K, generator=generator).softmax(-1)
    labels = WeakBatch(soft=soft, member=member, group=torch.arange(24) % 3)
    supervision = Supervision(torch.arange(24), labels, torch.ones(24))
    weights = []
    for micro in (None, 1):
        module = Head(5, K, hidden=0, dropout=0.0, init_std=0.1, generator=torch.Generator().manual_seed(2))
        config = stepped(epochs=3, batch_size=8, learning_rate=0.05, micro_batch_size=micro)
        train(module, inputs, supervision, LOSSES[name](), config, seed=0)
        weights.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert torch.allclose(*weights, atol=1e-6)


def test_recipes_name_their_options_and_refuse_others():
    assert Recipe(loss="adaptive", options={"sign": "reversed"}).name == "adaptive[sign=reversed]-soft"
    assert Recipe().name == "xent-soft"
    for bad, word in (
        ({"loss": "nothing"}, "choose one of xent, product"),
        ({"loss": "adaptive", "options": {"taux": 1}}, "it has tau, sign"),
        ({"loss": "xent", "options": {"tau": 1}}, "it has none"),
        ({"loss": "adaptive", "options": {"sign": "up"}}, "options.sign: .*'released' or 'reversed'"),
        ({"loss": "adaptive", "options": {"tau": 0}}, "above 0"),
    ):
        with pytest.raises(ValidationError, match=word):
            Recipe.model_validate(bad)


def test_a_recipe_mixes_easy_and_pseudo_labels_to_mean_one_and_says_so_in_its_name():
    confidence, difficulty = torch.tensor([0.5, 1.0]), torch.tensor([0.0, 1.0, 5.0, 2.0])
    weights, pace = weights_and_pace(Recipe(with_easy=True), confidence, difficulty)
    assert pace is None
    assert torch.equal(weights, torch.ones(4))  # to the bit: older students keep their keys
    weights, _ = weights_and_pace(Recipe(with_easy=True, easy_weight=3), confidence, difficulty)
    assert weights.tolist() == [1.5, 1.5, 0.5, 0.5]
    weights, _ = weights_and_pace(Recipe(with_easy=True, weigh_by="confidence"), confidence, difficulty)
    assert torch.allclose(weights, torch.tensor([1.0, 1.0, 2 / 3, 4 / 3]))
    weights, _ = weights_and_pace(Recipe(weigh_by="confidence"), confidence, difficulty[2:])
    assert torch.allclose(weights, torch.tensor([2 / 3, 4 / 3]))
    _, pace = weights_and_pace(Recipe(with_easy=True, curriculum="confidence"), confidence, difficulty)
    assert pace.hardness.tolist() == [0.0, 0.0, 0.5, 0.0]
    _, pace = weights_and_pace(
        Recipe(with_easy=True, curriculum="difficulty", curriculum_start=0.1), confidence, difficulty
    )
    assert torch.equal(pace.hardness, difficulty)
    assert (pace.start, pace.ramp) == (0.1, 0.5)
    assert Recipe(with_easy=True, easy_weight=2).name == "xent-soft+easy[weight=2.0]"
    paced = Recipe(curriculum="confidence", curriculum_ramp=0.7)
    assert paced.name == "xent-soft-curriculum[by=confidence,ramp=0.7]"
    for bad, word in (
        ({"easy_weight": 2}, "set with_easy: true"),
        ({"easy_weight": 0, "with_easy": True}, "greater than 0"),
        ({"curriculum_start": 0.5}, "set curriculum: confidence or difficulty"),
        ({"curriculum": "confidence", "curriculum_ramp": 0}, "greater than 0"),
    ):
        with pytest.raises(ValidationError, match=word):
            Recipe.model_validate(bad)


def test_bins_of_difficulty_hold_equally_many_and_are_one_where_it_is_unknown():
    assert difficulty_bins(torch.arange(8.0)).bincount().tolist() == [2, 2, 2, 2]
    assert difficulty_bins(torch.tensor([1.0, float("nan")])).tolist() == [0, 0]
    assert difficulty_bins(torch.ones(5)).unique().numel() == 1


def test_a_run_trains_a_student_with_every_loss(task_file, tmp_path):
    recipes = [{"loss": name} for name in LOSSES] + [{"loss": "group", "with_easy": True, "options": {"beta": 0.5}}]
    recipes += [{"with_easy": True, "easy_weight": 2, "weigh_by": "confidence", "curriculum": "difficulty"}]
    recipes += [{"curriculum": "confidence"}]
    changes = {"seeds": [0], "ensemble": {"methods": ["single"], "n_rounds": 1}, "students": {"recipes": recipes}}
    config = parse_config(merged(tiny_tree(task_file), changes))
    results = run(config, tmp_path / "run", store_root=tmp_path / "store")
    for recipe in config.students.recipes:
        assert 0 < results.row(f"student:single:{recipe.name}").parts["ood_test"]["log_loss"].per_seed[0] < 10


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_its_page(name):
    docs = Path(__file__).parents[2] / "docs" / "methods"
    assert f"(`{name}`)" in (docs / f"{name}.md").read_text()
    assert f"({name}.md)" in (docs / "README.md").read_text()
