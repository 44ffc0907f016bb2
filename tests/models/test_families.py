"""Every family with every adapter: it loads, is cut, trains and is exported, or is refused by name."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from ensemw2s.config import CacheConfig, DecodingConfig, ModelConfig
from ensemw2s.ensemble.decode import decode
from ensemw2s.ensemble.members import SharedTrunk
from ensemw2s.errors import ModelError
from ensemw2s.models import upper
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapters import build_adapter, fit_scale, head_of, owned_state
from ensemw2s.models.export import export_student, load_student
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.load import load_backbone, unembedding_rows
from ensemw2s.models.trunk import pooled_features

COMMON = {
    "vocab_size": 258,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "initializer_range": 0.15,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
LOCAL = GROUPED | {"sliding_window": 4}
DECODERS = {
    "llama": GROUPED,
    "qwen2": GROUPED,
    "qwen3": GROUPED,
    "mistral": LOCAL,
    "gemma3_text": LOCAL,
    "olmo2": GROUPED,
    "gpt2": {},
    "gpt_neox": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.15},
}
ENCODERS = {
    "bert": {},
    "roberta": {},
    "distilbert": {"hidden_dim": 64},
    "modernbert": {"local_attention": 4, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 1},
}
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
def checkpoint(tmp_path_factory, tiny):
    """A folder of a family's tiny random model, made at most once."""
    made = {}

    def make(family: str):
        if family not in made:
            made[family] = tmp_path_factory.mktemp("families") / family
            decoder = family in DECODERS or family == "bloom"
            settings = COMMON | (DECODERS | ENCODERS).get(family, {})
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                cls = AutoModelForCausalLM if decoder else AutoModel
                model = cls.from_config(AutoConfig.for_model(family, **settings))
            model.save_pretrained(made[family])
            AutoTokenizer.from_pretrained(tiny).save_pretrained(made[family])
        return made[family]

    return make


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


@pytest.mark.parametrize("settings", ADAPTERS[1:], ids=NAMES[1:])
@pytest.mark.parametrize("family", DECODERS)
def test_an_answer_model_starts_as_the_librarys_own_language_model(family, settings, checkpoint):
    folder = checkpoint(family)
    config = ModelConfig(model=str(folder), dtype="float32", **settings)
    backbone = load_backbone(config)
    unembedding = backbone.unembedding if backbone.unembedding is not None else unembedding_rows(config)
    members = SharedTrunk(backbone, [AnswerModel(backbone, unembedding, config, generator=torch.Generator()).eval()])
    library = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompts = backbone.tokenizer(PROMPTS)["input_ids"]  # of several lengths: padded on the left in decoding
    written = decode(members, torch.ones(1), backbone.tokenizer, prompts, DecodingConfig(max_new_tokens=5, stop=()))
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
    build(ModelConfig(model="bloom", adapter="lora"), bloom)
    monkeypatch.setattr(upper, "POSITIONS", ())
    with pytest.raises(ModelError, match=r"GPT2Model cannot be run.*use adapter: head, full, or lora on all layers"):
        build(ModelConfig(model="x", adapter="top"), load_backbone(ModelConfig(model=str(checkpoint("gpt2")))))


def test_what_is_neither_a_decoder_nor_an_encoder_is_refused(checkpoint):
    with pytest.raises(ModelError, match="a t5 model is not a plain text model; use a decoder or an encoder"):
        load_backbone(ModelConfig(model=str(checkpoint("t5"))))


def test_an_encoder_does_not_write(checkpoint):
    backbone = load_backbone(ModelConfig(model=str(checkpoint("bert"))))
    with pytest.raises(ModelError, match="an encoder does not generate"):
        AnswerModel(backbone, torch.zeros(258, 32), ModelConfig(adapter="full"), generator=torch.Generator())


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
