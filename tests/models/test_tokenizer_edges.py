"""Tokenizers that end texts in special tokens, or lack some: a student answers alike here and in the plain library."""

import pytest
import torch
from tokenizers import processors
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ensemw2s.config import CacheConfig, ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.export.classifier import export_student, load_student
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import build_adapter, owned_state
from ensemw2s.models.assembled.classifier import PADDING
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.loading.tiny import byte_tokenizer
from ensemw2s.models.probes import classifier, memory
from ensemw2s.models.probes.classifier import check_classifier
from family_table import make_family

CACHE = CacheConfig(trunk_cache="memory", batch_tokens=64)
PROMPTS = [f"Is {a} above {a - 1}?" for a in range(20, 40)]


def ending(token, number):
    tokenizer = byte_tokenizer()
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {token}", special_tokens=[(token, number)]
    )
    return tokenizer


def without_padding():
    tokenizer = ending("<eos>", 1)
    tokenizer.pad_token = None
    return tokenizer


def padding_outside():
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = None
    tokenizer.add_tokens([f"<{n}>" for n in range(6)])  # 258 to 263: the last that the model has embeddings of
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    return tokenizer


def without_specials():
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token = None
    return tokenizer


TOKENIZERS = {
    "nothing added": byte_tokenizer,
    "ends in the padding": lambda: ending("<pad>", 0),
    "ends in the end token, no padding": without_padding,
    "padding without an embedding": padding_outside,
    "no special token": without_specials,
}


@pytest.fixture
def saved(tmp_path):
    """A folder of a tiny model with another tokenizer."""

    def make(tokenizer, family="qwen3"):
        folder = make_family(tmp_path / "model", family)
        tokenizer.save_pretrained(folder)
        return ModelConfig(model=str(folder), dtype="float32")

    return make


@pytest.mark.parametrize("name", TOKENIZERS)
def test_an_exported_student_answers_as_in_training_whatever_the_tokenizer_adds(name, saved, store, tmp_path):
    config = saved(TOKENIZERS[name]())
    backbone = load_backbone(config)
    check_classifier(config, backbone, store, is_exported=True)
    generator = torch.Generator().manual_seed(0)
    module = build_adapter(config, backbone, 2, dropout=0.0, init_std=0.3, generator=generator).eval()
    prompts = [*PROMPTS, "a text of another length<pad>", "no<eos>"]
    ids = backbone.tokenizer(prompts)["input_ids"]
    inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
    with torch.no_grad():
        expected = module(*inputs.batch(torch.arange(len(prompts)))).softmax(-1)
    student = tmp_path / "student"
    export_student(student, config=config, backbone=backbone, state=owned_state(module), choices=("no", "yes"), card="")
    assert backbone.tokenizer.pad_token != PADDING  # the trunk's own stays as it is
    torch.testing.assert_close(load_student(student).log_probs(prompts).exp(), expected, rtol=1e-4, atol=1e-4)
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(student),
        AutoTokenizer.from_pretrained(student),
    )
    assert tokenizer.pad_token == PADDING
    with torch.no_grad():
        batch = model(**tokenizer(prompts, padding=True, return_tensors="pt")).logits.softmax(-1)
        singly = [model(input_ids=tokenizer(p, return_tensors="pt")["input_ids"]).logits.softmax(-1) for p in prompts]
    torch.testing.assert_close(batch, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.cat(singly), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("adapter", ["head", "lora"])
def test_a_token_that_the_model_has_no_embedding_of_is_refused_by_name(adapter, saved, store):
    config = saved(padding_outside()).model_copy(update={"adapter": adapter})
    backbone = load_backbone(config)
    ids = backbone.tokenizer(["fine", "a hole: [PAD]"])["input_ids"]
    with pytest.raises(ModelError, match=r"example 1 has the token '\[PAD\]', number 264, .* embeddings of 0 to 263"):
        open_activations(backbone, ids, config=config, cache=CACHE, store=store)


def test_a_model_that_stood_its_probes_is_not_tried_again_until_its_tokenizer_changes(saved, store, monkeypatch):
    config = saved(byte_tokenizer())
    check_classifier(config, load_backbone(config), store, is_exported=True)

    def tried(*_):
        raise ModelError("tried again")

    monkeypatch.setattr(classifier, "_Probed", tried)
    check_classifier(config, load_backbone(config), store, is_exported=True)
    for changed in (config.model_copy(update={"adapter": "full"}), config.model_copy(update={"n_layers": 2})):
        with pytest.raises(ModelError, match="tried again"):
            check_classifier(changed, load_backbone(changed), store, is_exported=True)
    before = memory.note_of(load_backbone(config), {})
    ending("<pad>", 0).save_pretrained(config.model)
    assert memory.note_of(load_backbone(config), {}) != before
    with pytest.raises(ModelError, match="tried again"):
        check_classifier(config, load_backbone(config), store, is_exported=True)


@pytest.mark.parametrize(
    ("family", "settings", "reason"),
    [
        ("fnet", {"adapter": "head"}, "changes with the padding beside it .*such as BERT, RoBERTa or ModernBERT"),
        ("mamba", {"adapter": "lora"}, "MambaModel is refused: a student of adapter: lora .* lora_targets"),
        ("squeezebert", {"adapter": "lora"}, "has no linear layer to put low-rank updates on; use adapter: head"),
    ],
)
def test_a_family_that_would_answer_wrongly_is_refused_before_any_work(family, settings, reason, tmp_path, store):
    config = ModelConfig(model=str(make_family(tmp_path / "m", family)), dtype="float32", **settings)
    with pytest.raises(ModelError, match=reason):
        check_classifier(config, load_backbone(config), store, is_exported=True)


def test_updates_on_a_mixture_of_experts_leave_the_experts_as_they_are(tmp_path):
    config = ModelConfig(model=str(make_family(tmp_path / "m", "mixtral")), dtype="float32", adapter="lora")
    backbone = load_backbone(config)
    module = build_adapter(config, backbone, 2, dropout=0.5, init_std=0.0, generator=torch.Generator())
    updated = {name.partition(".lora_")[0].rpartition(".")[2] for name in owned_state(module) if "lora_" in name}
    assert updated == {"q_proj", "k_proj", "v_proj", "o_proj"}
