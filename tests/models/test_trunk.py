from dataclasses import replace

import pytest
import torch

from ensemw2s.errors import ModelError
from ensemw2s.models import passes, trunk
from ensemw2s.models.loading import anatomy
from ensemw2s.models.trunk import pooled_features, token_activations

FAMILIES = ["tiny", "gpt2", "tiny_encoder"]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_pass_gives_what_each_cut_checkpoint_gives(family, request, load_tiny, ids):
    folder = request.getfixturevalue(family)
    depths = [1, 2, 3]
    got = pooled_features(load_tiny(folder), ids, depths, batch_tokens=64)
    for depth in depths:
        cut = load_tiny(folder, n_layers=depth)
        for i, example in enumerate(ids):
            with torch.no_grad():
                hidden = cut.model(torch.tensor([example])).last_hidden_state[0]
            expected = hidden[-1] if cut.is_causal else hidden.mean(0)
            torch.testing.assert_close(got[depth][i], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_features_do_not_depend_on_who_shares_the_batch(family, request, load_tiny, ids):
    backbone = load_tiny(request.getfixturevalue(family))
    alone = pooled_features(backbone, ids, [2], batch_tokens=1)[2]
    together = pooled_features(backbone, ids, [2], batch_tokens=10_000)[2]
    backwards = pooled_features(backbone, ids[::-1], [2], batch_tokens=50)[2].flip(0)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(backwards, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_token_activations_are_the_librarys_hidden_states_before_the_norm(family, request, load_tiny, ids):
    backbone = load_tiny(request.getfixturevalue(family))
    values, offsets = token_activations(backbone, ids, 2, batch_tokens=64)
    assert values.shape == (sum(map(len, ids)), 32)
    for i, example in enumerate(ids):
        with torch.no_grad():
            expected = backbone.model(torch.tensor([example]), output_hidden_states=True).hidden_states[2][0]
        torch.testing.assert_close(values[offsets[i] : offsets[i + 1]], expected, rtol=1e-5, atol=1e-5)


def test_the_activations_of_the_last_layer_are_raw_too(backbone, ids):
    values, offsets = token_activations(backbone, ids, 4, batch_tokens=64)
    last = values[offsets[1:] - 1]
    pooled = pooled_features(backbone, ids, [4], batch_tokens=64)[4]
    torch.testing.assert_close(anatomy.final_norm(backbone.model)(last), pooled, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(last, pooled, atol=1e-2)


def test_nothing_above_the_deepest_layer_is_computed(backbone, ids):
    ran = []
    hook = anatomy.layers_of(backbone.model)[2].register_forward_hook(lambda *_: ran.append(1))
    pooled_features(backbone, ids, [1, 2], batch_tokens=64)
    assert not ran
    hook.remove()


def test_a_pass_leaves_no_hook_and_no_change_behind(backbone, ids):
    before = {name: p.clone() for name, p in backbone.model.named_parameters()}
    pooled_features(backbone, ids, [1, 4], batch_tokens=64)
    assert not any(module._forward_hooks for module in anatomy.layers_of(backbone.model))
    assert all(torch.equal(before[name], p) for name, p in backbone.model.named_parameters())


def test_the_tokens_read_are_told_without_padding(backbone, ids):
    told = []
    pooled_features(backbone, ids, [1], batch_tokens=64, on_tokens=told.append)
    assert sum(told) == sum(map(len, ids))
    assert len(told) > 1


@pytest.mark.parametrize("depths", [[0], [5], [2, 9], []])
def test_a_depth_outside_the_model_is_refused(backbone, ids, depths):
    with pytest.raises(ModelError, match="within 1 and 4"):
        pooled_features(backbone, ids, depths, batch_tokens=64)


def test_an_example_without_tokens_is_named(backbone):
    with pytest.raises(ModelError, match="example 1 has no token"):
        pooled_features(backbone, [[3], []], [1], batch_tokens=64)


def test_a_family_with_another_end_is_refused_rather_than_misread(backbone, ids, monkeypatch):
    monkeypatch.setattr(trunk, "final_norm", lambda _: torch.nn.Identity())
    with pytest.raises(ModelError, match="after its last layer"):
        pooled_features(backbone, ids, [1, 2], batch_tokens=64)


def test_bfloat16_features_stay_close_to_float32(tiny, ids):
    from ensemw2s.config import ModelConfig
    from ensemw2s.models.loading.load import load_backbone

    exact, rough = (
        pooled_features(load_backbone(ModelConfig(model=str(tiny), dtype=dtype)), ids, [3], batch_tokens=64)[3]
        for dtype in ("float32", "bfloat16")
    )
    assert rough.dtype is torch.bfloat16
    assert float((rough.float() - exact).norm() / exact.norm()) < 0.05


@pytest.mark.parametrize("family", ["tiny", "gpt2"])
@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_texts_behind_a_prefix_that_is_read_once_are_read_as_in_one_pass(family, batch_tokens, request, load_tiny, ids):
    backbone, prefix = load_tiny(request.getfixturevalue(family)), ids[6]
    whole = [[*prefix, *example] for example in ids]
    expected = pooled_features(backbone, whole, [1, 2, 3], batch_tokens=64)
    read = []
    got = pooled_features(backbone, ids, [1, 2, 3], batch_tokens=batch_tokens, prefix=prefix, on_tokens=read.append)
    for depth in (1, 2, 3):
        torch.testing.assert_close(got[depth], expected[depth], rtol=1e-5, atol=1e-5)
    assert sum(read) == sum(map(len, ids))


def test_a_family_that_cannot_go_on_from_a_prefix_reads_it_before_every_text(backbone, ids, monkeypatch):
    expected = pooled_features(backbone, ids, [2, 4], batch_tokens=64, prefix=ids[0])
    monkeypatch.setattr(passes, "_keeps_prefixes", lambda _: False)
    got = pooled_features(backbone, ids, [2, 4], batch_tokens=64, prefix=ids[0])
    for depth in (2, 4):
        torch.testing.assert_close(got[depth], expected[depth], rtol=1e-5, atol=1e-5)


def test_features_behind_a_prefix_are_pooled_over_the_text_alone(backbone, ids):
    mean = replace(backbone, pooling=("mean",))
    (got,) = pooled_features(mean, ids[:1], [4], batch_tokens=64, prefix=ids[1])[4]
    with torch.no_grad():
        hidden = backbone.model(torch.tensor([[*ids[1], *ids[0]]])).last_hidden_state[0]
    torch.testing.assert_close(got, hidden[len(ids[1]) :].mean(0), rtol=1e-5, atol=1e-5)


def test_a_prefix_with_a_token_that_has_no_embedding_is_refused(backbone, ids):
    with pytest.raises(ModelError, match="number 999"):
        pooled_features(backbone, ids, [1], batch_tokens=64, prefix=[999])
