import pytest
import torch

from ensemw2s.config import CacheConfig, ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import (
    build_adapter,
    fit_scale,
    head_of,
    load_owned,
    n_trainable,
    owned_state,
)
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.assembled.classifier import merged
from ensemw2s.models.trunk import pooled_features

ADAPTERS = ["head", "top", "lora", "full"]
NAMES = ("embed_tokens.weight", "wte.weight", "wpe.weight")
CACHE = CacheConfig(trunk_cache="memory", batch_tokens=64)


def config_of(adapter: str, **settings: object) -> ModelConfig:
    return ModelConfig(model="tiny", adapter=adapter, n_layers=3, top_layers=2, lora_rank=4, **settings)


def build(config, backbone, *, seed=0, dropout=0.0, init_std=0.02, n_classes=3):
    generator = torch.Generator().manual_seed(seed)
    return build_adapter(config, backbone, n_classes, dropout=dropout, init_std=init_std, generator=generator)


def train(adapter, inputs, steps=3, lr=0.01):
    optimiser = torch.optim.AdamW([p for p in adapter.parameters() if p.requires_grad], lr=lr)
    values, mask = inputs.batch(torch.arange(6))
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(adapter(values, mask), torch.tensor([0, 1, 2, 0, 1, 2]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(loss.detach())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_untrained_adapter_scores_the_cut_models_own_feature(adapter, backbone, ids, store):
    config = config_of(adapter)
    module = build(config, backbone)
    inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
    features = pooled_features(backbone, ids, [3], batch_tokens=64)[3]
    with torch.no_grad():
        got = module(*inputs.batch(torch.arange(len(ids))))
        expected = features @ head_of(module).score.weight.T
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_training_moves_only_what_the_adapter_owns(adapter, backbone, ids, store):
    config = config_of(adapter)
    before = {name: p.clone() for name, p in backbone.model.named_parameters()}
    module = build(config, backbone).train()
    inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
    first, last = train(module, inputs, 1), train(module, inputs, 12)
    assert last < first
    assert [n for n, _ in backbone.model.named_parameters()] == list(before)
    assert all(torch.equal(before[name], p) and not p.requires_grad for name, p in backbone.model.named_parameters())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_initial_weight_comes_from_the_generator(adapter, backbone):
    global_state = torch.get_rng_state()
    states = [owned_state(build(config_of(adapter), backbone, seed=seed)) for seed in (0, 0, 1)]
    assert torch.equal(global_state, torch.get_rng_state())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(*(next(t for n, t in state.items() if "score" in n) for state in states[1:]))


def test_lora_starts_as_the_pretrained_model_with_its_down_projection_drawn(backbone):
    states = [owned_state(build(config_of("lora"), backbone, seed=seed)) for seed in (0, 1)]
    downs = [name for name in states[0] if "lora_A" in name]
    assert len(downs) == 3 * 7  # every linear layer of three Llama layers
    assert not any(torch.equal(states[0][name], states[1][name]) for name in downs)
    assert not any(states[0][name].any() for name in states[0] if "lora_B" in name)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("hidden", [0, 6])
def test_the_owned_state_alone_restores_the_adapter(adapter, hidden, backbone, ids, store):
    config = config_of(adapter, head_hidden=hidden)
    module = build(config, backbone)
    inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
    fit_scale(module, inputs, torch.arange(6))
    train(module, inputs)
    other = build(config, backbone, seed=9)
    load_owned(other, owned_state(module))
    batch = inputs.batch(torch.arange(len(ids)))
    with torch.no_grad():
        assert torch.equal(module.eval()(*batch), other.eval()(*batch))


def test_the_owned_state_is_small_and_a_copy(backbone):
    module = build(config_of("head"), backbone)
    state = owned_state(module)
    assert {name: list(t.shape) for name, t in state.items()} == {"score.weight": [3, 32], "scale": [32]}
    state["score.weight"].zero_()
    assert module.score.weight.any()
    assert n_trainable(module) == 96


def test_a_state_of_something_else_is_refused_by_name(backbone):
    module = build(config_of("head"), backbone)
    state = owned_state(module)
    with pytest.raises(ModelError, match="lacks scale"):
        load_owned(module, {"score.weight": state["score.weight"]})
    with pytest.raises(ModelError, match="unknown tensor more"):
        load_owned(module, state | {"more": state["scale"]})
    with pytest.raises(ModelError, match=r"score.weight has shape \[2, 32\], not \[3, 32\]"):
        load_owned(module, state | {"score.weight": torch.zeros(2, 32)})


def test_the_scale_is_the_root_mean_square_and_a_dead_dimension_keeps_one():
    head = Head(3, 2, 0, 0.0, 0.02, torch.Generator().manual_seed(0))
    head.fit_scale(torch.tensor([[3.0, 1.0, 0.0], [4.0, -1.0, 0.0]]))
    torch.testing.assert_close(head.scale, torch.tensor([12.5**0.5, 1.0, 1.0]))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_fit_scale_reads_the_adapters_own_features(adapter, backbone, ids, store):
    config = config_of(adapter)
    module = build(config, backbone, dropout=0.5).train()
    inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
    fit_scale(module, inputs, torch.tensor([1, 3, 5]), batch_size=2)
    features = pooled_features(backbone, [ids[i] for i in (1, 3, 5)], [3], batch_tokens=64)[3]
    torch.testing.assert_close(head_of(module).scale, features.square().mean(0).sqrt(), rtol=1e-4, atol=1e-5)
    assert module.training


def test_a_hidden_layer_learns_even_from_zero_initial_deviation(backbone, ids, store):
    config = config_of("head", head_hidden=8)
    module = build(config, backbone, init_std=0.0)
    inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
    first = train(module, inputs, 1)
    assert train(module, inputs, 30) < first


def test_dropout_acts_on_the_heads_input_and_stops_in_evaluation(backbone, ids, store):
    config = config_of("head")
    module = build(config, backbone, dropout=0.5)
    batch = open_activations(backbone, ids, config=config, cache=CACHE, store=store).batch(torch.arange(4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert not torch.equal(module.train()(*batch), module(*batch))
    assert torch.equal(module.eval()(*batch), module(*batch))


def test_the_pretrained_models_own_dropout_stays_off_in_training(gpt2, load_tiny, ids, store):
    backbone = load_tiny(gpt2)
    config = config_of("lora")
    module = build(config, backbone).train()
    batch = open_activations(backbone, ids, config=config, cache=CACHE, store=store).batch(torch.arange(4))
    assert torch.equal(module(*batch), module(*batch))
    assert any(m.p > 0 for m in backbone.model.modules() if isinstance(m, torch.nn.Dropout))


@pytest.mark.parametrize("family", ["tiny", "gpt2", "tiny_encoder"])
def test_full_leaves_the_embeddings_frozen_and_shared(family, load_tiny, request, ids, store):
    backbone = load_tiny(request.getfixturevalue(family)).cut(2)
    config = config_of("full").model_copy(update={"n_layers": 2})
    tables = {name: p for name, p in backbone.model.named_parameters() if "embeddings." in name or name in NAMES}
    tables = {name: p for name, p in tables.items() if p.ndim == 2}
    before = {name: p.clone() for name, p in tables.items()}
    module = build(config, backbone)
    weights = dict(backbone.model.named_parameters())
    n_owned = sum(p.numel() for p in weights.values()) - sum(p.numel() for p in tables.values())
    assert n_trainable(module) == n_owned + 3 * backbone.feature_size
    inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
    train(module, inputs)
    after, whole = owned_state(module), dict(module.model.named_parameters())
    assert {f"model.{name}" for name in weights.keys() - tables.keys()} | {"head.score.weight", "head.scale"} == (
        after.keys()
    )
    for name, table in tables.items():
        assert whole[name] is table
        assert table.grad is None
        assert torch.equal(table, before[name])
    assert not any(torch.equal(after[f"model.{name}"], weights[name]) for name in weights.keys() - tables.keys())


def test_only_what_changes_the_meaning_of_full_changes_its_key():
    now, then = config_of("full").deciding, config_of("full", train_embeddings=True).deciding
    assert now.pop("train_embeddings") is False
    assert now == then  # an older store has what the old meaning made
    for adapter in ("head", "top", "lora"):
        assert "train_embeddings" not in config_of(adapter).deciding


def test_full_trains_the_embeddings_too_where_asked(backbone, ids, store):
    config = config_of("full", train_embeddings=True)
    module = build(config, backbone)
    cut = backbone.cut(3).model
    owned = owned_state(module)
    assert {name.removeprefix("model.") for name in owned if name.startswith("model.")} == {
        name for name, _ in cut.named_parameters()
    }
    inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
    train(module, inputs)
    after = owned_state(module)
    moved = {name for name, before in cut.named_parameters() if not torch.equal(before, after[f"model.{name}"])}
    assert moved == {name for name, _ in cut.named_parameters()}


@pytest.mark.parametrize("train_embeddings", [False, True])
def test_full_computes_in_the_trunks_dtype_over_float32_weights(train_embeddings, tiny, ids, store):
    from ensemw2s.models.loading.load import load_backbone

    backbone = load_backbone(ModelConfig(model=str(tiny), dtype="bfloat16"))
    config = config_of("full", train_embeddings=train_embeddings)
    module = build(config, backbone)
    seen = []
    module.model.layers[0].mlp.down_proj.register_forward_hook(lambda _m, _i, output: seen.append(output.dtype))
    inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
    first = train(module, inputs, 1)
    assert train(module, inputs, 12) < first
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in module.parameters() if p.requires_grad} == {torch.float32}
    assert module.model.embed_tokens.weight.dtype == (torch.float32 if train_embeddings else torch.bfloat16)
    exported = merged(backbone.cut(3), module)
    assert {p.dtype for p in exported.parameters()} == {torch.float32}
    assert module.model.embed_tokens.weight.dtype == (torch.float32 if train_embeddings else torch.bfloat16)


def test_top_layers_must_leave_a_trunk(backbone):
    with pytest.raises(ModelError, match="top_layers must be within 1 and 1, got 2"):
        build(ModelConfig(model="tiny", adapter="top", n_layers=2, top_layers=2).model_copy(), backbone)


def test_adapters_on_a_bfloat16_trunk_train_in_float32(tiny, ids, store):
    from ensemw2s.models.loading.load import load_backbone

    backbone = load_backbone(ModelConfig(model=str(tiny), dtype="bfloat16"))
    for adapter in ADAPTERS:
        config = config_of(adapter)
        module = build(config, backbone)
        inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
        train(module, inputs)
        assert {t.dtype for t in owned_state(module).values()} == {torch.float32}
