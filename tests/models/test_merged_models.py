"""Merged experts of every adapter: what they compute, against votes, copies and sums of dense weights."""

import pytest
import torch

from ensemw2s.config import ModelConfig
from ensemw2s.core.merging import Dare, Linear, Ties
from ensemw2s.core.seeds import stream
from ensemw2s.core.voting import combine
from ensemw2s.errors import ModelError
from ensemw2s.models.adapting.adapters import build_adapter, load_owned, owned_state
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.adapting.merging import merged_change, merged_model, start_of
from ensemw2s.models.language import AnswerModel, load_answer_model, vocabulary_head

ADAPTERS = {
    "head": {},
    "top": {"top_layers": 1},
    "lora": {"lora_rank": 2, "lora_alpha": 5.0},
    "upper lora": {"lora_rank": 2, "lora_alpha": 5.0, "lora_layers": 1},
    "full": {},
}


def config_of(adapter: str) -> ModelConfig:
    return ModelConfig(model="tiny", adapter=adapter.split()[-1], n_layers=2, **ADAPTERS[adapter])


def built(config, backbone, seed: int | None = None):
    """An adapter; with a seed all that it trains is moved."""
    module = build_adapter(config, backbone, 3, dropout=0.0, init_std=0.02, generator=stream(seed or 0, "init"))
    if seed is not None:
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    parameter += 0.02 * torch.randn(parameter.shape, generator=stream(seed, name))
    return module.eval()


def asked(config, backbone, state) -> torch.Tensor:
    """Logits of an adapter of this state for two short inputs."""
    module = built(config, backbone)
    load_owned(module, state)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    n = module.head.scale if hasattr(module, "head") else module.scale
    if config.adapter == "head":
        values = torch.randn(2, 1, len(n), generator=stream(0, "values"))
        mask = mask[:, :1]
    elif config.adapter == "top" or config.lora_layers:
        values = torch.randn(2, 3, len(n), generator=stream(0, "values"))
    else:
        values = torch.tensor([[5, 6, 7], [8, 9, 0]])
    with torch.no_grad():
        return module(values, mask)


def one_of(states, config, backbone, weights, merge, scale=1.0):
    start = start_of(built(config, backbone))
    change = merged_change(states, start, torch.tensor(weights), merge, config, seed=0)
    return change, change.state(start, scale)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_copies_of_one_expert_merge_to_it(adapter, backbone):
    config, n = config_of(adapter), 3
    state = owned_state(built(config, backbone, seed=1))
    for merge in (Linear(), Ties(density=1.0), Dare(density=1.0)):
        change, merged = one_of([state] * n, config, backbone, [0.2, 1.0, 3.0], merge)
        found = asked(merged_model(config, n), backbone, merged)
        torch.testing.assert_close(found, asked(config, backbone, state), rtol=1e-4, atol=1e-5)
        assert change.kept == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("adapter", ["top", "full"])
def test_own_weights_are_the_start_and_the_mean_change(adapter, backbone):
    config = config_of(adapter)
    states = [owned_state(built(config, backbone, seed)) for seed in (1, 2)]
    start = owned_state(built(config, backbone))
    _, merged = one_of(states, config, backbone, [1.0, 3.0], Linear(), scale=1.5)
    for name, tensor in merged.items():
        begun = 0.0 if "head" in name else start[name]
        expected = begun + 1.5 * (0.25 * states[0][name] + 0.75 * states[1][name] - begun)
        torch.testing.assert_close(tensor, states[0][name] if name == "head.scale" else expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("merge", [Linear(), Ties(density=0.3), Dare()])
def test_low_rank_updates_are_merged_as_what_they_add_and_cut_to_their_common_rank(merge, backbone):
    config = config_of("lora")
    states = [owned_state(built(config, backbone, seed)) for seed in (1, 2)]
    change, merged = one_of(states, config, backbone, [1.0, 1.0], merge, scale=0.5)
    shares, scaling, whole, left = torch.full((2,), 0.5, dtype=torch.float64), 5.0 / 2, 0.0, 0.0
    for down in (name for name in merged if "lora_A" in name):
        up = down.replace("lora_A", "lora_B")
        added = torch.stack([scaling * state[up].double() @ state[down].double() for state in states])
        expected = merge(added, shares, stream(0, "merge", down))
        found = 2 * merged[up].double() @ merged[down].double()
        u, s, v = torch.linalg.svd(expected, full_matrices=False)
        torch.testing.assert_close(found, u[:, :4] * s[:4] @ v[:4], rtol=1e-3, atol=1e-6)
        whole, left = whole + float(s.square().sum()), left + float(s[:4].square().sum())
    assert change.kept == pytest.approx(left / whole, rel=1e-4)
    assert (change.kept > 1 - 1e-9) == isinstance(merge, Linear)
    model = merged_model(config, 2)
    assert (model.lora_rank, model.lora_alpha) == (4, 4.0)


def test_the_mean_of_linear_heads_is_the_vote_of_their_log_probabilities():
    heads = [Head(8, 3, 0, 0.0, 0.5, stream(seed, "head")) for seed in range(4)]
    features = torch.randn(20, 8, generator=stream(0, "features"))
    heads[0].restrict(torch.arange(8) < 5)  # and so they are where some read less
    heads[1].scale.fill_(2.0)
    alphas = torch.tensor([0.5, 1.0, 2.0, 0.3])
    change = merged_change([owned_state(h) for h in heads], {}, alphas, Linear(), ModelConfig(), seed=0)
    one = Head(8, 3, 0, 0.0, 0.0, stream(0, "any"))
    load_owned(one, change.state({}, 1.0))
    with torch.no_grad():
        each = torch.stack([head.classify(features).log_softmax(-1) for head in heads])
        merged = one.classify(features).log_softmax(-1)
    assert torch.allclose(merged.exp(), combine(each, alphas, vote="log").exp(), atol=1e-6)


def test_weights_that_are_all_zero_count_as_equal(backbone):
    config = config_of("head")
    states = [owned_state(built(config, backbone, seed)) for seed in (1, 2)]
    (_, none), (_, equal) = (one_of(states, config, backbone, w, Linear()) for w in ([0.0, 0.0], [1.0, 1.0]))
    assert all(torch.equal(none[name], equal[name]) for name in equal)


def test_experts_of_different_starts_are_refused(backbone):
    states = [owned_state(built(config_of(a), backbone, seed=1)) for a in ("head", "top")]
    with pytest.raises(ModelError, match="experts of different starts cannot be merged"):
        one_of(states, config_of("head"), backbone, [1.0, 1.0], Linear())
    hidden = [owned_state(Head(8, 3, 4, 0.0, 0.5, stream(seed, "head"))) for seed in range(2)]
    with pytest.raises(ModelError, match=r"hidden\.weight began at random weights of its own"):
        merged_change(hidden, {}, torch.ones(2), Linear(), ModelConfig(), seed=0)


@pytest.mark.parametrize("adapter", ["top", "lora", "full"])
def test_copies_of_one_that_writes_merge_to_it_whatever_noise_it_began_with(adapter, backbone):
    config, head = config_of(adapter), vocabulary_head(backbone)
    expert = AnswerModel(backbone, head, config, init_noise=0.3, generator=stream(1, "init")).eval()
    state, start = owned_state(expert), start_of(AnswerModel(backbone, head, config, generator=stream(0, "init")))
    merged = merged_change([state] * 2, start, torch.ones(2), Linear(), config, seed=0).state(start, 1.0)
    one = load_answer_model(backbone, head, merged_model(config, 2), merged)
    values = torch.tensor([[5, 6, 7]]) if adapter == "full" else torch.randn(1, 3, backbone.hidden_size)
    with torch.no_grad():
        found, expected = (model.hidden(values, torch.ones(1, 3, dtype=torch.long)) for model in (one, expert))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert start.keys() == (set() if adapter == "lora" else state.keys())
