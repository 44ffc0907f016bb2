from contextlib import contextmanager

import pytest
import torch

from ensemw2s.config import CacheConfig, ModelConfig
from ensemw2s.errors import ConfigError
from ensemw2s.meter import watched
from ensemw2s.models import activations
from ensemw2s.models.activations import activation_bytes, open_activations, pooled_for_depths
from ensemw2s.models.inputs import IdInputs, PooledInputs, RecomputedInputs, TokenInputs
from ensemw2s.models.trunk import pooled_features

HEAD = ModelConfig(model="tiny", adapter="head", n_layers=3)
TOP = ModelConfig(model="tiny", adapter="top", top_layers=1, n_layers=3)
ROWS = torch.tensor([7, 0, 11, 2, 7])


def cache(where: str = "disk", **settings: object) -> CacheConfig:
    return CacheConfig(trunk_cache=where, shard_rows=5, batch_tokens=64, **settings)


@pytest.mark.parametrize("config", [HEAD, TOP], ids=["head", "top"])
def test_cached_and_recomputed_activations_are_equal(config, backbone, ids, store):
    batches = [
        open_activations(backbone, ids, config=config, cache=cache(where), store=store).batch(ROWS)
        for where in ("disk", "disk", "memory", "off")
    ]
    for values, mask in batches[1:]:
        assert torch.equal(mask, batches[0][1])
        torch.testing.assert_close(values, batches[0][0], rtol=1e-5, atol=1e-5)
        assert values.dtype is torch.float32


def test_each_adapter_reads_its_own_kind_of_input(backbone, ids, store):
    opened = [
        open_activations(backbone, ids, config=ModelConfig(model="tiny", adapter=a), cache=cache(where), store=store)
        for a, where in (("head", "disk"), ("top", "disk"), ("lora", "disk"), ("head", "off"))
    ]
    assert [type(inputs) for inputs in opened] == [PooledInputs, TokenInputs, IdInputs, RecomputedInputs]
    for inputs in opened:
        assert inputs.lengths.tolist() == [len(example) for example in ids]


def test_token_ids_come_back_right_padded(backbone, ids, store):
    inputs = open_activations(
        backbone, ids, config=ModelConfig(model="tiny", adapter="lora"), cache=cache(), store=store
    )
    values, mask = inputs.batch(torch.tensor([0, 2]))
    assert values.tolist() == [ids[0], [*ids[2], 0, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]


def test_several_depths_cost_one_pass(backbone, ids, store):
    read = []
    got = pooled_for_depths(backbone, ids, [2, 4], cache=cache(), store=store, on_tokens=read.append)
    assert sum(read) == sum(map(len, ids))
    expected = pooled_features(backbone, ids, [2, 4], batch_tokens=64)
    for depth in (2, 4):
        values, mask = got[depth].batch(torch.arange(len(ids)))
        assert mask.tolist() == [[1]] * len(ids)
        torch.testing.assert_close(values[:, 0], expected[depth], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [HEAD, TOP], ids=["head", "top"])
def test_what_is_in_the_store_is_not_computed_again(config, backbone, ids, store):
    read = []
    for _ in range(2):
        open_activations(backbone, ids, config=config, cache=cache(), store=store, on_tokens=read.append)
        assert sum(read) == sum(map(len, ids))
    assert len(store.kept) == 3  # 12 examples in shards of 5


@pytest.mark.parametrize("config", [HEAD, TOP], ids=["head", "top"])
def test_an_interruption_costs_one_shard(config, backbone, ids, store):
    def stop_in_the_third_shard(n: int) -> None:
        if len(store.kept) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_activations(backbone, ids, config=config, cache=cache(), store=store, on_tokens=stop_in_the_third_shard)
    read = []
    open_activations(backbone, ids, config=config, cache=cache(), store=store, on_tokens=read.append)
    assert sum(read) == sum(map(len, ids[10:]))


@pytest.mark.parametrize("config", [HEAD, TOP], ids=["head", "top"])
def test_progress_counts_every_token_read_or_found(config, backbone, ids, store):
    counts = []

    @contextmanager
    def watch(count):
        counts.append(count)
        yield count.add

    with watched(watch):
        for kept in (0, 2, 3):
            while len(store.kept) > kept:
                store.kept.popitem()
            open_activations(backbone, ids, config=config, cache=cache(), store=store)
    n_tokens = sum(map(len, ids))
    assert [(count.unit, count.done, count.total) for count in counts] == [("tokens", n_tokens, n_tokens)] * 3


def test_only_the_depth_that_is_missing_is_computed(backbone, ids, store):
    pooled_for_depths(backbone, ids, [2], cache=cache(), store=store)
    before = set(store.kept)
    pooled_for_depths(backbone, ids, [2, 3], cache=cache(), store=store)
    assert len(store.kept) == 2 * len(before)


def test_nothing_is_shared_between_things_that_differ(backbone, tiny, ids, store, load_tiny, monkeypatch):
    def opened(model, examples, config=HEAD, **settings):
        open_activations(model, examples, config=config, cache=cache(), store=store, **settings)
        return len(store.kept)

    counts = [opened(backbone, ids)]
    counts.append(opened(backbone, [[5, *example] for example in ids]))
    counts.append(opened(backbone, ids, HEAD.model_copy(update={"n_layers": 2})))
    counts.append(opened(backbone, ids, TOP))
    counts.append(opened(backbone, ids, base_key="another template"))
    counts.append(opened(load_tiny(tiny, revision="v2"), ids))
    monkeypatch.setattr(activations.transformers, "__version__", "99.0")
    counts.append(opened(backbone, ids))
    assert counts == [3, 6, 9, 12, 15, 18, 21]


def test_a_cut_and_the_whole_model_share_their_activations(backbone, ids, store):
    open_activations(backbone, ids, config=HEAD, cache=cache(), store=store)
    open_activations(backbone.cut(3), ids, config=HEAD, cache=cache(), store=store)
    assert len(store.kept) == 3


def test_what_the_store_returns_is_not_copied(backbone, ids, store):
    inputs = open_activations(backbone, ids, config=HEAD, cache=cache(), store=store)
    kept = {entry["values"].data_ptr() for entry in store.kept.values()}
    assert {shard.data_ptr() for shard in inputs.shards} == kept


def test_memory_leaves_the_store_alone(backbone, ids, store):
    open_activations(backbone, ids, config=HEAD, cache=cache("memory"), store=store)
    assert not store.kept


def test_the_size_is_known_beforehand():
    lengths = torch.tensor([3, 5])
    assert activation_bytes(lengths, 32, torch.bfloat16, pooled=True) == 2 * 32 * 2
    assert activation_bytes(lengths, 32, torch.float32, pooled=False) == 8 * 32 * 4


def test_over_budget_auto_recomputes_and_an_explicit_wish_is_refused(backbone, ids, store):
    small = {"budget_gib": 1e-6}
    for config in (HEAD, TOP):
        inputs = open_activations(backbone, ids, config=config, cache=cache("auto", **small), store=store)
        assert isinstance(inputs, RecomputedInputs)
        for where in ("disk", "memory"):
            with pytest.raises(ConfigError, match=f"'{where}'.*GiB.*budget_gib allows 1e-06"):
                open_activations(backbone, ids, config=config, cache=cache(where, **small), store=store)
    assert not store.kept


def test_activations_are_stored_in_the_trunks_dtype_and_read_in_float32(tiny, ids, store):
    from ensemw2s.models.loading.load import load_backbone

    backbone = load_backbone(ModelConfig(model=str(tiny), dtype="bfloat16"))
    inputs = open_activations(backbone, ids, config=TOP, cache=cache(), store=store)
    assert {entry["values"].dtype for entry in store.kept.values()} == {torch.bfloat16}
    assert inputs.batch(ROWS)[0].dtype is torch.float32


def test_a_prefix_counts_in_the_key_and_the_length_only_where_there_is_one(backbone, ids, store):
    plain = pooled_for_depths(backbone, ids, [4], cache=cache(), store=store)[4]
    before = set(store.kept)
    pooled_for_depths(backbone, ids, [4], cache=cache(), store=store, prefix=[])
    assert set(store.kept) == before
    opened = [
        pooled_for_depths(backbone, ids, [4], cache=cache(where), store=store, prefix=[7, 8, 9])[4]
        for where in ("disk", "disk", "memory", "off")
    ]
    assert len(store.kept) == 2 * len(before)
    for each in opened:
        assert each.lengths.tolist() == [3 + len(example) for example in ids]
        torch.testing.assert_close(each.batch(ROWS)[0], opened[0].batch(ROWS)[0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(plain.batch(ROWS)[0], opened[0].batch(ROWS)[0], atol=1e-2)
