"""The last layer's MLP at answer positions alone: the same states and gradients."""

import pytest
import torch

from ensemw2s.config import ModelConfig
from ensemw2s.core.seeds import stream
from ensemw2s.models.adapting.upper import layers_recomputed
from ensemw2s.models.inputs import IdInputs
from ensemw2s.models.language import AnswerModel, vocabulary_head
from ensemw2s.models.loading.anatomy import layers_of
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.packing import sequences_packed
from ensemw2s.records import AnswerTokens
from ensemw2s.train.answers import AnswerSupervision, answer_loss, only_answers_read
from tiny_families import make_family

LENGTHS = (5, 20, 9, 17)


def prepared(folder, adapter: str):
    config = ModelConfig(model=str(folder), adapter=adapter)  # pyright: ignore[reportArgumentType]
    backbone = load_backbone(config)
    head = vocabulary_head(backbone)
    module = AnswerModel(backbone, head, config, init_noise=0.1, generator=stream(0, "init"))
    draw = stream(0, "ids")
    ids = [tuple(torch.randint(3, 60, (n,), generator=draw).tolist()) for n in LENGTHS]
    answers = AnswerTokens(tuple(ids), tuple(n - 3 for n in LENGTHS))
    lesson = AnswerSupervision(answers, torch.arange(4), torch.rand(12, generator=draw))
    return module, IdInputs(answers.read, backbone.pad_id), lesson


def loss_and_gradients(module, inputs, lesson) -> tuple[torch.Tensor, torch.Tensor]:
    module.zero_grad()
    loss = answer_loss(module, inputs, lesson, lesson.rows)
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "gpt_neox", "gemma3_text", "opt"])
def test_loss_and_gradients_are_those_of_all_positions(tmp_path, family):
    module, inputs, lesson = prepared(make_family(tmp_path / family, family), "full")
    expected, gradient = loss_and_gradients(module, inputs, lesson)
    mlp = getattr(layers_of(module.upper)[-1], "mlp", None)
    with only_answers_read(module, inputs, lesson.answers, lesson.rows):
        loss, found = loss_and_gradients(module, inputs, lesson)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-5)
    assert mlp is None or "forward" not in vars(mlp)


@pytest.mark.parametrize("how", [sequences_packed, layers_recomputed], ids=["packed", "recomputed"])
def test_also_where_sequences_are_packed_or_layers_computed_again(tmp_path, how):
    module, inputs, lesson = prepared(make_family(tmp_path / "llama", "llama"), "full")
    expected, gradient = loss_and_gradients(module, inputs, lesson)
    packing = how is sequences_packed
    with how(module), only_answers_read(module, inputs, lesson.answers, lesson.rows, packing=packing):
        loss, found = loss_and_gradients(module, inputs, lesson)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-5)


def test_the_mlp_sees_the_answer_positions_alone(tmp_path):
    module, inputs, lesson = prepared(make_family(tmp_path / "llama", "llama"), "full")
    rows_of: list[int] = []
    layers_of(module.upper)[-1].mlp.down_proj.register_forward_hook(lambda _, given, out: rows_of.append(out.shape[1]))
    with only_answers_read(module, inputs, lesson.answers, lesson.rows):
        loss_and_gradients(module, inputs, lesson)
    assert rows_of == [12]
