"""What a classifier reads of a text: the library's states, pooled as was set or as the prompts ask."""

import pytest
import torch

from ensemw2s.config import CacheConfig, ModelConfig, parse_config
from ensemw2s.errors import ModelError
from ensemw2s.models.activations import open_activations, pooled_for_depths
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.probes.classifier import check_classifier
from ensemw2s.models.trunk import pooled_features
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.prompting import ends_in_cue, pooled_by_prompts
from ensemw2s.storage.store import Store
from tiny_run import comparison_rows, tiny_tree, write_jsonl

BY_HAND = {"last": lambda hidden: hidden[-1], "mean": lambda hidden: hidden.mean(0), "cls": lambda hidden: hidden[0]}
READ = [
    ("tiny", None, ["last"]),
    ("tiny", "last", ["last"]),
    ("tiny", "mean", ["mean"]),
    ("tiny", "auto", ["last", "mean"]),
    ("tiny_encoder", None, ["mean"]),
    ("tiny_encoder", "last", ["last"]),
    ("tiny_encoder", "cls", ["cls"]),
    ("tiny_encoder", "auto", ["mean", "cls"]),
]


@pytest.mark.parametrize(("family", "pooling", "expected"), READ)
def test_features_are_the_librarys_states_pooled(family, pooling, expected, request, ids):
    backbone = load_backbone(ModelConfig(model=str(request.getfixturevalue(family)), pooling=pooling, dtype="float32"))
    depths = [2, backbone.n_layers]
    found = pooled_features(backbone, ids, depths, batch_tokens=64)
    assert backbone.feature_size == found[2].shape[1]
    for depth in depths:
        for i, example in enumerate(ids):
            with torch.no_grad():
                hidden = backbone.cut(depth).model(torch.tensor([example])).last_hidden_state[0]
            by_hand = torch.cat([BY_HAND[name](hidden) for name in expected])
            torch.testing.assert_close(found[depth][i], by_hand, rtol=1e-5, atol=1e-5)


def test_the_first_token_of_a_causal_model_is_refused(tiny):
    with pytest.raises(ModelError, match="pooling: cls reads the first token"):
        load_backbone(ModelConfig(model=str(tiny), pooling="cls", dtype="float32"))


@pytest.mark.parametrize("adapter", ["head", "top", "lora", "full"])
@pytest.mark.parametrize("pooling", ["mean", "auto"])
def test_every_adapter_passes_its_probes(pooling, adapter, tiny, store):
    config = ModelConfig(model=str(tiny), pooling=pooling, adapter=adapter, top_layers=1, dtype="float32")
    check_classifier(config, load_backbone(config), store, is_exported=True)


def test_poolings_have_stored_features_of_their_own(tiny, ids, store):
    read = []
    for pooling in (None, "last", "mean", "auto", "mean"):
        backbone = load_backbone(ModelConfig(model=str(tiny), pooling=pooling, dtype="float32"))
        pooled_for_depths(backbone, ids, [2], cache=CacheConfig(), store=store, on_tokens=read.append)
    # The standard pooling and its name are one thing; a pooling that was read before is not read again.
    assert sum(read) == 3 * sum(map(len, ids))


@pytest.mark.parametrize(
    ("prompts", "is_cue"),
    [
        (["Is it so?\nAnswer:", "What is it?\nAnswer:"], True),
        (["one. True or false?", "two. True or false?"], True),
        (["Is Oslo in Norway?", "Is Rome in Italy? "], True),
        (["Is Oslo in Norway?", "Rome is in Italy."], False),
        (["My parcel is late.", "The login fails."], False),
        (["Answer: yes", "Answer: no"], False),
        (["a\nLabel:\n", "b\nLabel:\n"], True),
    ],
)
def test_prompts_end_in_a_cue_where_their_last_words_are_one_or_all_ask(prompts, is_cue):
    assert ends_in_cue(prompts) == is_cue
    assert pooled_by_prompts(ModelConfig(), prompts).pooling == (None if is_cue else "mean")
    for set_by_user in (ModelConfig(pooling="last"), ModelConfig(chat=True)):
        assert pooled_by_prompts(set_by_user, prompts) == set_by_user


@pytest.mark.parametrize(
    ("prompt", "pooling"), [("{{ q }} {{ id }}", "mean"), ("{{ q }}", None), ("{{ q }}\nAnswer:", None)]
)
def test_a_run_pools_as_its_prompts_ask_and_keeps_the_last_token_for_zero_shot(prompt, pooling, tmp_path):
    tree = tiny_tree(write_jsonl(tmp_path / "task.jsonl", comparison_rows()))
    tree["task"]["prompt"] = prompt
    config = parse_config(tree)
    prepared = prepare(config, Store(tmp_path / "store"), lambda name, n: None)
    assert prepared.config == config
    assert prepared.pool[0].config.pooling == prepared.strong.config.pooling == pooling
    rows = torch.arange(5)
    plain = parse_config(tree | {"strong": tree["strong"] | {"pooling": "last"}})
    again = prepare(plain, Store(tmp_path / "store"), lambda name, n: None)
    assert torch.allclose(again.strong.features(rows), prepared.strong.last.batch(rows)[0][:, 0], atol=1e-5)
    inputs = open_activations(
        prepared.strong.backbone,
        prepared.strong.backbone.tokenizer([prepared.split.examples[0].prompt])["input_ids"],
        config=prepared.strong.config,
        cache=CacheConfig(trunk_cache="off"),
        store=Store(tmp_path / "other"),
    )
    assert torch.allclose(prepared.strong.features(rows[:1]), inputs.batch(rows[:1])[0][:, 0], atol=1e-4)
