"""Every family with every adapter: it loads, is cut, trains and is exported, or is refused by name."""

import functools

import pytest
import torch
from transformers import AutoModelForCausalLM

from ensemw2s.config import CacheConfig, DecodingConfig, ModelConfig
from ensemw2s.ensemble.words.decode import Decoding, Row, decode
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.errors import ModelError
from ensemw2s.export.classifier import export_student, load_student
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting import upper
from ensemw2s.models.adapting.adapters import build_adapter, fit_scale, head_of, owned_state
from ensemw2s.models.language import AnswerModel, vocabulary_head
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.trunk import pooled_features
from tiny_families import DECODERS, ENCODERS, make_family

ADAPTERS = [
    {"adapter": "head"},
    {"adapter": "top", "top_layers": 2},
    {"adapter": "lora", "lora_rank": 4},
    {"adapter": "lora", "lora_rank": 4, "lora_layers": 2},
    {"adapter": "full"},
]
NAMES = ["head", "top", "lora", "lora on upper layers", "full"]
EXPORTED = [ADAPTERS[1], ADAPTERS[3], ADAPTERS[4]]
CACHE = CacheConfig(trunk_cache="memory", batch_tokens=64)
PROMPTS = ["Is Oslo in Norway?", "no", "Is Paris in France or in Texas?", "x"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A folder of a family's tiny random model, made at most once."""
    place = tmp_path_factory.mktemp("families")
    return functools.cache(lambda family: make_family(place / family, family))


def build(config, backbone):
    generator = torch.Generator().manual_seed(0)
    return build_adapter(config, backbone, 2, dropout=0.0, init_std=0.5, generator=generator)


@pytest.mark.parametrize("settings", ADAPTERS, ids=NAMES)
@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS])
def test_a_classifier_starts_as_the_cut_checkpoint_learns_and_is_exported(
    family, settings, checkpoint, ids, store, tmp_path
):
    config = ModelConfig(model=str(checkpoint(family)), dtype="float32", n_layers=3, **settings)
    backbone = load_backbone(config)
    assert backbone.is_causal == (family in DECODERS)
    before = [p.clone() for p in backbone.model.parameters()]
    module = build(config, backbone)
    inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
    rows = torch.arange(len(ids))
    with torch.no_grad():
        features = pooled_features(backbone, ids, [3], batch_tokens=64)[3]
        torch.testing.assert_close(
            module(*inputs.batch(rows)), features @ head_of(module).score.weight.T, rtol=1e-3, atol=1e-4
        )
    fit_scale(module, inputs, rows)
    with torch.no_grad():  # the pretrained model's own dropout stays off
        assert torch.equal(module.train()(*inputs.batch(rows)), module.eval()(*inputs.batch(rows)))
    optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(module(*inputs.batch(rows)), rows % 2)
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, backbone.model.parameters(), strict=True))
    if settings not in EXPORTED:
        return
    prompts = backbone.tokenizer(PROMPTS)["input_ids"]
    read = open_activations(backbone, prompts, config=config, cache=CACHE, store=store)
    with torch.no_grad():
        expected = module(*read.batch(torch.arange(len(PROMPTS)))).log_softmax(-1)
    export_student(
        tmp_path / "s", config=config, backbone=backbone, state=owned_state(module), choices=("no", "yes"), card=""
    )
    torch.testing.assert_close(load_student(tmp_path / "s").log_probs(PROMPTS), expected, rtol=1e-3, atol=1e-3)


def joined(members, backbone, prompts, how):
    """The same answers, each begun a token after the one before it, as far as the family allows that."""
    decoding = Decoding(members, torch.ones(1), backbone.tokenizer)
    rows = [Row(ids, str(number), how) for number, ids in enumerate(prompts)]
    for row in rows:
        while decoding.rows and not decoding.can_be_joined:
            decoding.step()
        decoding.join([row])
        if decoding.rows:
            decoding.step()
    while decoding.rows:
        decoding.step()
    return [row.decoded().tokens for row in rows]


@pytest.mark.parametrize("settings", ADAPTERS[1:], ids=NAMES[1:])
@pytest.mark.parametrize("family", DECODERS)
def test_an_answer_model_starts_as_the_librarys_own_language_model(family, settings, checkpoint):
    folder = checkpoint(family)
    config = ModelConfig(model=str(folder), dtype="float32", **settings)
    backbone = load_backbone(config)
    unembedding = vocabulary_head(backbone)
    members = SharedTrunk(backbone, [AnswerModel(backbone, unembedding, config, generator=torch.Generator()).eval()])
    library = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompts = backbone.tokenizer(PROMPTS)["input_ids"]  # of several lengths: padded on the left in decoding
    how = DecodingConfig(max_new_tokens=5, stop=())
    written = decode(members, torch.ones(1), backbone.tokenizer, prompts, how)
    assert joined(members, backbone, prompts, how) == [answer.tokens for answer in written]
    for ids, answer in zip(prompts, written, strict=True):
        with torch.no_grad():
            whole = library(torch.tensor([[*ids, *answer.tokens]])).logits[0].log_softmax(-1)[len(ids) - 1 :]
        gold = whole[range(len(answer.log_probs)), [*answer.tokens, 1][: len(answer.log_probs)]]
        torch.testing.assert_close(torch.tensor(answer.log_probs), gold, rtol=1e-3, atol=1e-3)
        assert whole[: len(answer.tokens)].argmax(-1).tolist() == list(answer.tokens)


def test_upper_layers_are_refused_where_a_family_bends_what_it_takes_for_embeddings(checkpoint, monkeypatch):
    bloom = load_backbone(ModelConfig(model=str(checkpoint("bloom")), dtype="float32"))
    for settings in (ADAPTERS[1], ADAPTERS[3]):
        with pytest.raises(ModelError, match=r"BloomModel cannot be run from cached activations \(relative error"):
            build(ModelConfig(model="bloom", **settings), bloom)
    ids = torch.arange(2, 12).unsqueeze(0)
    expected = bloom.model(ids).last_hidden_state[:, -1]
    for settings in (ADAPTERS[2], ADAPTERS[4]):
        module = build(ModelConfig(model="bloom", **settings), bloom)
        torch.testing.assert_close(module.pooled(ids, torch.ones_like(ids)), expected, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(upper, "POSITIONS", ())
    with pytest.raises(ModelError, match=r"GPT2Model cannot be run.*use adapter: head, full, or lora on all layers"):
        build(ModelConfig(model="x", adapter="top"), load_backbone(ModelConfig(model=str(checkpoint("gpt2")))))


def test_what_is_neither_a_decoder_nor_an_encoder_is_refused(checkpoint):
    with pytest.raises(ModelError, match="a t5 model is not a plain text model; use a decoder or an encoder"):
        load_backbone(ModelConfig(model=str(checkpoint("t5"))))


def test_an_encoder_does_not_write(checkpoint):
    backbone = load_backbone(ModelConfig(model=str(checkpoint("bert"))))
    with pytest.raises(ModelError, match="an encoder does not generate"):
        vocabulary_head(backbone)


def test_lora_targets_are_the_only_layers_updated_and_an_unknown_one_is_named(checkpoint):
    for family, targets, expected in (
        ("llama", ("q_proj", "v_proj"), 2),
        ("gpt2", ("c_attn",), 1),
        ("gpt2", ("attn.c_proj",), 1),
        ("bert", ("query", "value", "intermediate.dense"), 3),
    ):
        config = ModelConfig(model=str(checkpoint(family)), adapter="lora", n_layers=2, lora_targets=targets)
        state = owned_state(build(config, load_backbone(config)))
        downs = [name for name in state if "lora_A" in name]
        assert len(downs) == 2 * expected
        assert all(any(f".{target}." in name for target in targets) for name in downs)
    config = ModelConfig(model=str(checkpoint("gpt2")), adapter="lora", lora_targets=("c_attn", "q_proj"))
    with pytest.raises(
        ModelError, match=r"a GPT2Model has no linear layer 'q_proj'; choose among c_attn, c_fc, c_proj"
    ):
        build(config, load_backbone(config))
