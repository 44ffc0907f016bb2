"""Mixtures of low-rank updates: against a dense oracle, LoRA and the linear merge; their balance; their trainings."""

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from ensemw2s.config import CacheConfig, DecodingConfig, ModelConfig
from ensemw2s.core.losses import CrossEntropy
from ensemw2s.core.losses.base import WeakBatch
from ensemw2s.core.merging import Linear
from ensemw2s.core.seeds import stream
from ensemw2s.errors import ModelError
from ensemw2s.export.answerer import export_language
from ensemw2s.export.classifier import export_student, load_student
from ensemw2s.export.ensembles.generator import student_generator
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import build_adapter, load_owned, n_trainable, owned_state
from ensemw2s.models.adapting.merging import merged_change, merged_model, start_as_merge
from ensemw2s.models.adapting.mixture import MIXTURE, MixtureLinear, balance_loss, gates, mixtures_of
from ensemw2s.models.inputs import EmbeddedInputs, IdInputs
from ensemw2s.models.language import AnswerModel
from ensemw2s.records import AnswerTokens
from ensemw2s.storage.store import Store
from ensemw2s.train.answers import AnswerSupervision, train_answers
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.train.loop import predict, train
from ensemw2s.train.samples import Supervision
from tiny_run import stepped
from watching import steps_told_to

LORA = ModelConfig(model="tiny", adapter="lora", n_layers=2, lora_rank=2, lora_alpha=5.0)
MIXED = LORA.model_copy(update={"lora_experts": 3, "lora_balance": 20.0})
CHOICES = ("a", "b", "c")
TEXTS = ((5, 6, 7, 8, 9), (8, 9), (10, 11, 12, 13), (14,), (5, 9, 12), (6, 7), (3, 4, 5, 6, 7, 8), (20, 21))
LENGTHS = torch.tensor([len(ids) for ids in TEXTS])
ANSWERS = AnswerTokens(((5, 6, 7, 8, 1), (9, 10, 11, 1), (12, 13, 14, 15, 16, 17, 1), (5, 9, 1)), (3, 2, 4, 1))


def built(config, backbone, seed: int | None = None):
    """A classifier; with a seed all that it trains is moved."""
    module = build_adapter(config, backbone, 3, dropout=0.0, init_std=0.02, generator=stream(seed or 0, "init"))
    return module.eval() if seed is None else moved(module, seed).eval()


def moved(module, seed):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=stream(seed, name))
    return module


def changed(config: ModelConfig, **settings: object) -> ModelConfig:
    return config.model_copy(update=settings)


def writer(config, backbone, seed=0):
    return AnswerModel(backbone, backbone.unembedding, config, init_noise=0.5, generator=stream(seed, "init")).eval()


def layer(n_experts=4, n_active=2, **settings) -> MixtureLinear:
    mixture = MixtureLinear(nn.Linear(6, 5), n_experts, n_active, rank=2, scaling=1.5, **settings).double()
    return moved(mixture, 0)


def test_a_layer_and_its_gradient_are_those_of_the_dense_formula():
    mixture, x = layer(), torch.randn(7, 6, generator=stream(0, "x"), dtype=torch.float64)
    scores = x @ mixture.lora_router.T
    expected = mixture.base(x)
    for i, row in enumerate(scores):
        best = row.argsort(descending=True)[:2]
        share = row[best].exp() / row[best].exp().sum()
        for k, g in zip(best.tolist(), share, strict=True):
            expected = expected.clone()
            expected[i] = expected[i] + g * 1.5 * (mixture.lora_B[k] @ mixture.lora_A[k] @ x[i])
    torch.testing.assert_close(mixture(x), expected, rtol=1e-12, atol=1e-12)
    owned = [*mixture.lora_A, *mixture.lora_B, mixture.lora_router]
    ours, dense = (torch.autograd.grad(y.sin().sum(), owned) for y in (mixture(x), expected))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(ours, dense, strict=True))
    assert torch.equal(gates(torch.zeros(1, 4), 2), torch.full((1, 4), 0.25))  # of equals all are active


@pytest.mark.parametrize("family", ["tiny", "gpt2"])
def test_mixtures_of_one_are_lora(family, request, load_tiny):
    backbone = load_tiny(request.getfixturevalue(family))
    plain = built(LORA, backbone, seed=1)
    one = built(LORA, backbone, seed=1)
    for name, module in list(one.model.named_modules()):
        if isinstance(module, LoraLayer):
            mixture = MixtureLinear(module.get_base_layer(), 1, 1, 2, scaling=2.5)
            down, up = (getattr(module, part)["default"].weight for part in ("lora_A", "lora_B"))
            mixture.lora_A[0], mixture.lora_B[0] = down, up
            one.model.set_submodule(name, mixture)
    batch = IdInputs(TEXTS, backbone.pad_id).batch(torch.arange(8))
    assert len(mixtures_of(one)) > 4
    torch.testing.assert_close(one(*batch), plain(*batch), rtol=1e-6, atol=1e-6)
    gradients = []
    for module in (plain, one):
        owned = [p for name, p in module.named_parameters() if p.requires_grad and "router" not in name]
        gradients.append(
            {p.shape: g for p, g in zip(owned, torch.autograd.grad(module(*batch).sin().sum(), owned), strict=True)}
        )
    assert all(torch.allclose(g, gradients[1][shape], atol=1e-5) for shape, g in gradients[0].items())


@pytest.mark.parametrize("form", ["classes", "upper classes", "words"])
def test_a_student_of_weak_experts_starts_as_their_linear_merge(form, backbone):
    make = writer if form == "words" else built
    config = changed(LORA, lora_layers=2 if form == "classes" else 1)
    experts = [owned_state(make(config, backbone, seed)) for seed in (1, 2, 3)]
    change = merged_change(experts, {}, torch.ones(3), Linear(), config, seed=0)
    merge = make(merged_model(config, 3), backbone, 0)
    load_owned(merge, change.state({}, 1.0))
    student = make(changed(config, lora_experts=3, lora_start="weak"), backbone, 4)
    start_as_merge(student, experts)
    values = torch.randn(2, 3, backbone.hidden_size, generator=stream(0, "values"))
    values, mask = (
        (torch.tensor([[5, 6, 7], [8, 9, 0]]) if form == "classes" else values),
        torch.tensor([[1, 1, 1], [1, 1, 0]]),
    )
    with torch.no_grad():
        run = (
            (lambda m: m.logits(m.hidden(values, mask)[mask.bool()])) if form == "words" else lambda m: m(values, mask)
        )
        torch.testing.assert_close(run(student), run(merge), rtol=1e-4, atol=1e-4)
        pretrained = make(config, backbone, 0)
        assert not torch.allclose(run(student), run(pretrained), atol=1e-2)
    other = owned_state(make(changed(config, lora_targets=("q_proj",)), backbone, 1))
    with pytest.raises(ModelError, match=r"no low-rank update .*mlp\.\w+_proj\.lora_A\.default"):
        start_as_merge(student, [other, other])


def test_the_balance_is_least_where_all_take_alike_and_ignores_padding():
    def balance(scores: torch.Tensor, lengths: torch.Tensor) -> float:
        mixture = layer(3, 1, balance=0.5)
        mixture.routed = scores
        return float(balance_loss(mixture, lengths))

    sure = 50.0 * nn.functional.one_hot(torch.tensor([[0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 0, 0]]), 3)
    alone = [balance(scores[None], torch.tensor([6])) for scores in sure]
    assert alone == pytest.approx([0.5, 0.5 * 3 * (9 + 4 + 1) / 36, 1.5])
    assert balance(sure, torch.tensor([6, 6, 6])) == pytest.approx(sum(alone))
    assert balance(sure, torch.tensor([6, 3, 6])) == pytest.approx(alone[0] + 1.5 + 1.5)
    assert balance_loss(nn.Linear(2, 2), LENGTHS) == 0.0


def trained(config, backbone, data, checkpointer=None, **settings):
    module = built(config, backbone, seed=1)
    soft = nn.functional.one_hot(torch.arange(8) % 3, 3).float()
    lesson = Supervision(torch.arange(8), WeakBatch(soft=soft), torch.ones(8))
    training = stepped(**({"epochs": 3, "batch_size": 4, "learning_rate": 0.01, "checkpoint_steps": 2} | settings))
    train(module, data, lesson, CrossEntropy(), training, seed=0, checkpointer=checkpointer)
    return owned_state(module)


def alike(a, b, tolerance: float) -> bool:
    return all(torch.allclose(a[name], b[name], rtol=0, atol=tolerance) for name in a)


def test_a_text_is_answered_alike_alone_and_trained_alike_in_any_micro_batches(backbone, tmp_path):
    data = IdInputs(TEXTS, backbone.pad_id)
    module = built(MIXED, backbone, seed=1)
    with torch.no_grad():
        together = module(*data.batch(torch.arange(8)))
        alone = torch.cat([module(*data.batch(torch.tensor([i]))) for i in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    whole = trained(MIXED, backbone, data)
    assert alike(whole, trained(MIXED, backbone, data, micro_batch_size=1), 1e-4)
    assert alike(whole, trained(MIXED, backbone, data, gradient_checkpointing=True), 1e-5)
    assert not alike(whole, trained(changed(MIXED, lora_balance=0.0), backbone, data), 1e-3)

    class Stopped(Exception):
        pass

    def stop(done: int) -> None:
        if done == 5:
            raise Stopped

    keeper = Checkpointer(Store(tmp_path), "ab" * 32)
    with pytest.raises(Stopped), steps_told_to(stop):
        trained(MIXED, backbone, data, keeper)
    assert alike(whole, trained(MIXED, backbone, data, keeper), 0.0)


def test_a_mixture_that_writes_trains_alike_in_any_micro_batches(backbone):
    config = changed(MIXED, lora_layers=1)
    cut, states, inputs = backbone.cut(2), [], EmbeddedInputs(backbone, ANSWERS.read)
    lesson = AnswerSupervision(ANSWERS, torch.arange(4), torch.ones(len(ANSWERS.targets)))
    for micro in (None, 1):
        module = writer(config, cut)
        before = n_trainable(module)
        training = stepped(epochs=2, batch_size=4, learning_rate=1e-3, micro_batch_size=micro)
        train_answers(module, inputs, lesson, training, seed=0)
        states.append(owned_state(module))
    assert alike(*states, 1e-4)
    assert before > n_trainable(writer(changed(LORA, lora_layers=1), cut))


@pytest.mark.parametrize("layers", [2, 1])
def test_an_exported_classifier_answers_as_trained_and_a_damaged_one_is_refused(layers, backbone, load_tiny, tmp_path):
    config, cut, prompts = changed(MIXED, lora_layers=layers), backbone.cut(2), ["Is 7 above 3?", "no", "Is Oslo old?"]
    module, folder = built(config, cut, seed=1), tmp_path / "student"
    export_student(folder, config=config, backbone=cut, state=owned_state(module), choices=CHOICES, card="")
    student = load_student(folder)
    ids, cache = student.encode(prompts), CacheConfig(trunk_cache="memory")
    inputs = open_activations(cut, ids, config=config, cache=cache, store=Store(tmp_path / "store"))
    expected = predict(module, inputs, torch.arange(3))
    torch.testing.assert_close(student.log_probs(prompts), expected, rtol=1e-4, atol=1e-4)
    assert len(mixtures_of(student.backbone.model)) == 3 * layers
    with pytest.raises(ModelError, match="is no model to train on; name the model that it was trained on"):
        load_tiny(folder)
    (folder / MIXTURE).write_bytes((folder / MIXTURE).read_bytes()[:-9])
    with pytest.raises(ModelError, match="not the student that was exported"):
        load_student(folder)


def test_an_exported_writer_scores_as_the_trained_one(backbone, tmp_path):
    config, cut = changed(MIXED, model=backbone.name, lora_layers=1), backbone.cut(2)
    module = writer(config, cut, seed=1)
    export_language(
        tmp_path / "student",
        config=config,
        backbone=cut,
        unembedding=cut.unembedding,
        state=owned_state(module),
        decoding=DecodingConfig(max_new_tokens=4),
        card="",
    )
    generator = student_generator(tmp_path / "student")
    ids = torch.tensor([ANSWERS.ids[0]])
    entering: list[torch.Tensor] = []
    hook = cut.model.layers[1].register_forward_pre_hook(lambda _, args: entering.append(args[0]))
    with torch.no_grad():
        cut.model(input_ids=ids)
        hook.remove()
        logits = module.logits(module.hidden(entering[0], torch.ones_like(ids))[0])
    expected = logits.log_softmax(-1)[torch.arange(2, 4), ids[0, 3:]]
    found = generator.score([ANSWERS.ids[0]], [3])
    torch.testing.assert_close(found.gold[-1], expected, rtol=1e-4, atol=1e-4)


def test_a_family_without_an_mlp_of_that_name_is_refused(tiny_encoder, load_tiny):
    with pytest.raises(ModelError, match="none lies in a part named mlp; set lora_experts: 1"):
        built(MIXED, load_tiny(tiny_encoder))
