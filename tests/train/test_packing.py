"""Packed sequences give the gradients of padded ones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ensemw2s.config import ModelConfig
from ensemw2s.core.losses import CrossEntropy, WeakBatch
from ensemw2s.core.seeds import stream
from ensemw2s.errors import ModelError
from ensemw2s.models.adapting.adapters import build_adapter, owned_state
from ensemw2s.models.inputs import EmbeddedInputs, IdInputs, PooledInputs
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.packing import check_packing, plan, sequences_packed
from ensemw2s.records import AnswerTokens
from ensemw2s.train.answers import AnswerSupervision, answer_loss, train_answers
from ensemw2s.train.loop import train
from ensemw2s.train.samples import Supervision
from tiny_families import make_tiny_encoder
from tiny_run import stepped

LENGTHS = (5, 40, 9, 17, 3, 23, 12, 31)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(0, 5))
def test_every_token_has_one_place_and_comes_back(lengths, extra):
    width = max(lengths) + extra
    found = plan(lengths, width)
    assert len(found.source) <= len(lengths)
    values = torch.arange(len(lengths) * width)
    back = values[found.source].flatten()[found.place].view(len(lengths), width)
    for row, n in enumerate(lengths):
        assert torch.equal(back[row, :n], values.view(len(lengths), width)[row, :n])
        assert torch.equal(found.positions.flatten()[found.place[row, :n]], torch.arange(n))
    used = torch.cat([found.place[row, :n] for row, n in enumerate(lengths)])
    assert len(used.unique()) == sum(lengths)


def test_bins_are_filled():
    assert len(plan([10, 1, 9, 2, 8, 3, 7, 4, 6, 5], 10).source) == 6


def answers_of(backbone, *, embedded: bool = False) -> tuple[AnswerTokens, EmbeddedInputs | IdInputs]:
    draw = stream(0, "ids")
    ids = [tuple(torch.randint(3, 60, (n,), generator=draw).tolist()) for n in LENGTHS]
    answers = AnswerTokens(tuple(ids), tuple(max(1, n // 2) for n in LENGTHS))
    read = answers.read
    return answers, EmbeddedInputs(backbone, read) if embedded else IdInputs(read, backbone.pad_id)


CONFIGS = [
    ModelConfig(model="tiny", adapter="lora", lora_rank=4),
    ModelConfig(model="tiny", adapter="full"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.adapter)
def test_packed_loss_and_gradients_are_the_padded_ones_with_the_weights_of_tokens(config):
    backbone = load_backbone(config)
    answers, inputs = answers_of(backbone, embedded=config.adapter == "lora")
    module = AnswerModel(backbone, backbone.unembedding, config, init_noise=0.5, generator=stream(0, "init"))
    weights = torch.rand(len(answers.targets), generator=stream(0, "weights")) * 3
    supervision = AnswerSupervision(answers, torch.arange(len(LENGTHS)), weights)
    found = []
    for is_packed in (False, True):
        module.zero_grad()
        if is_packed:
            with sequences_packed(module):
                loss = answer_loss(module, inputs, supervision, torch.arange(len(LENGTHS)))
                loss.backward()
        else:
            loss = answer_loss(module, inputs, supervision, torch.arange(len(LENGTHS)))
            loss.backward()
        found.append((loss.item(), torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert float(found[0][1].norm()) > 1e-2
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-5, atol=1e-5 * float(found[0][1].abs().max()))


@pytest.mark.parametrize("changes", [{}, {"micro_batch_size": 3}, {"gradient_checkpointing": True}])
def test_a_packed_training_ends_where_the_padded_one_does(changes):
    config = CONFIGS[0]
    backbone = load_backbone(config)
    answers, inputs = answers_of(backbone, embedded=True)
    supervision = AnswerSupervision(answers, torch.arange(len(LENGTHS)), torch.ones(len(answers.targets)))
    states = []
    for training in (stepped(epochs=3, batch_size=4), stepped(epochs=3, batch_size=4, packing=True, **changes)):
        module = AnswerModel(backbone, backbone.unembedding, config, init_noise=0.5, generator=stream(0, "init"))
        start = owned_state(module)
        train_answers(module, inputs, supervision, training, seed=0)
        states.append(owned_state(module))
    for name, tensor in states[0].items():
        assert torch.allclose(tensor, states[1][name], atol=1e-4), name
    assert any(not torch.allclose(start[name], states[0][name], atol=1e-3) for name in start)


@pytest.mark.parametrize("adapter", ["lora", "head"])
def test_classes_pack_too_and_a_head_has_nothing_to_pack(adapter):
    config = ModelConfig(model="tiny", adapter=adapter)
    backbone = load_backbone(config)
    _, inputs = answers_of(backbone)
    if adapter == "head":
        features = torch.randn(len(LENGTHS), backbone.hidden_size, generator=stream(0, "features"))
        inputs = PooledInputs((features,), torch.ones(len(LENGTHS), dtype=torch.long))
    rows = torch.arange(len(LENGTHS))
    targets = WeakBatch(soft=torch.nn.functional.one_hot(rows % 2, 2).float())
    supervision = Supervision(rows, targets, torch.ones(len(rows)))
    states = []
    for packing in (False, True):
        module = build_adapter(config, backbone, 2, dropout=0.0, init_std=0.02, generator=stream(0, "init"))
        training = stepped(epochs=2, batch_size=4, packing=packing)
        train(module, inputs, supervision, CrossEntropy(), training, seed=0)
        states.append(owned_state(module))
    for name, tensor in states[0].items():
        assert torch.allclose(tensor, states[1][name], atol=1e-4), name


def test_what_cannot_be_packed_is_refused(tmp_path):
    check_packing(load_backbone(ModelConfig(model="tiny")))
    encoder = load_backbone(ModelConfig(model=str(make_tiny_encoder(tmp_path / "bert"))))
    with pytest.raises(ModelError, match=r"cannot be packed \(an encoder's tokens see both ways\); set packing: false"):
        check_packing(encoder)
