"""FLOPs by hand: 6 for a use of a trained weight, 4 of a frozen one among trained ones, 2 of one that is evaluated."""

import pytest

from ensemw2s.config import ModelConfig
from ensemw2s.forms.costs import evaluation_cost, training_cost, trunk_cost
from ensemw2s.forms.role import Role
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.loading.tiny import make_tiny

TRUNK, OWN, HEAD = 1000, 200, 50
"""Weights below the adapter's layers, of these, and of the vocabulary head."""


class FrozenHead(Role):
    head_weights = HEAD


class TrainedHead(FrozenHead):
    trains_head = True


@pytest.fixture(scope="module")
def role_of(tmp_path_factory):
    backbone = load_backbone(ModelConfig(model=str(make_tiny(tmp_path_factory.mktemp("tiny") / "llama"))))
    return lambda adapter, kind=Role: kind(ModelConfig(adapter=adapter), backbone, 2.0 * TRUNK, 2.0 * OWN)


@pytest.mark.parametrize(
    ("adapter", "owned", "training", "evaluation"),
    [
        ("head", 8, 6 * 8 * 5, 2 * 8 * 5),  # by example: one pooled feature each
        ("top", 208, 6 * 208 * 30, 2 * 208 * 30),
        ("lora", 16, (4 * OWN + 6 * 16) * 30, (2 * OWN + 2 * 16) * 30),
        ("full", 999, 6 * OWN * 30, 2 * OWN * 30),  # embeddings are looked up: `owned` has them, the FLOPs do not
    ],
)
def test_classes_by_hand(role_of, adapter, owned, training, evaluation):
    role, amounts = role_of(adapter), {"owned": owned, "tokens": 30, "examples": 5}
    trained, evaluated = training_cost(role, **amounts), evaluation_cost(role, **amounts)
    assert (trained.flops, trained.training_tokens, trained.expert_evaluations) == (training, 30, 0)
    assert (evaluated.flops, evaluated.training_tokens, evaluated.expert_evaluations) == (evaluation, 0, 5)


@pytest.mark.parametrize(
    ("adapter", "kind", "per_use"),
    [("top", FrozenHead, 4), ("lora", FrozenHead, 4), ("full", FrozenHead, 4), ("full", TrainedHead, 6)],
)
def test_answer_tokens_go_through_the_vocabulary_head(role_of, adapter, kind, per_use):
    plain, answering = role_of(adapter), role_of(adapter, kind)
    amounts = {"owned": 16, "tokens": 30, "examples": 5}
    more = training_cost(answering, **amounts, answer_tokens=7).flops - training_cost(plain, **amounts).flops
    assert more == per_use * HEAD * 7
    more = evaluation_cost(answering, **amounts, answer_tokens=7).flops - evaluation_cost(plain, **amounts).flops
    assert more == 2 * HEAD * 7


def test_the_trunk_is_read_once_and_trains_nothing(role_of):
    assert trunk_cost(role_of("top"), 30).flops == 2 * TRUNK * 30
    assert trunk_cost(role_of("top"), 30).training_tokens == 0
