"""Every family with every adapter: its answers by class are the library's own, or it is refused by name."""

import functools

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ensemw2s.config import CacheConfig, ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.export.classifier import export_student, load_student
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import build_adapter, head_of, owned_state
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.probes.classifier import check_classifier
from family_table import DECODERS, ENCODERS, FAST, make_family

ADAPTERS = {
    "head": {"adapter": "head"},
    "top": {"adapter": "top", "top_layers": 2},
    "lora": {"adapter": "lora", "lora_rank": 4},
    "lora on upper layers": {"adapter": "lora", "lora_rank": 4, "lora_layers": 2},
    "full": {"adapter": "full"},
}
UPPER = {"top", "lora on upper layers"}
REFUSED = {"opt_projected": UPPER, "roformer": UPPER, "mamba": {"lora", "lora on upper layers"}}
"""Of the fast families; the others of them take every adapter."""
N_LAYERS = 3
CACHE = CacheConfig(trunk_cache="memory", batch_tokens=64)
PROMPTS = ("Is Oslo in Norway?", "no", "Is Paris in France or in Texas?", "x", "no<pad>", "yes<eos>")
THOROUGH = ("llama", "gpt2", "bert")
"""Tried with every adapter in every test run; the other fast families with these two."""
CASES = [
    pytest.param(
        family,
        name,
        marks=() if family in THOROUGH or (family in FAST and name in ("top", "lora")) else pytest.mark.families,
    )
    for family in (*DECODERS, *ENCODERS)
    for name in ADAPTERS
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder of a family's tiny random model, made at most once."""
    place = tmp_path_factory.mktemp("families")
    return functools.cache(lambda family: make_family(place / family, family))


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "name"), CASES)
def test_a_family_answers_as_the_library_does_or_is_refused_by_name(family, name, checkpoint, store, tmp_path):
    folder = checkpoint(family)
    config = ModelConfig(model=str(folder), dtype="float32", n_layers=N_LAYERS, **ADAPTERS[name])
    try:
        backbone = load_backbone(config)
        check_classifier(config, backbone, store, is_exported=True)
    except ModelError as refusal:
        words = str(refusal)
        assert family not in FAST or name in REFUSED.get(family, ()), words
        assert words.startswith((str(folder), "a ", "AlbertModel")), words
        return
    assert name not in REFUSED.get(family, ())

    generator = torch.Generator().manual_seed(1)
    module = build_adapter(config, backbone, 2, dropout=0.0, init_std=0.5, generator=generator).eval()
    ids = backbone.tokenizer(list(PROMPTS))["input_ids"]
    inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
    rows = torch.arange(len(ids))
    with torch.no_grad():
        # With a mask: without one, XLM takes a padding token within a text for its end.
        inputs_of = [{"input_ids": one, "attention_mask": torch.ones_like(one)} for one in map(torch.tensor, ids)]
        states = [backbone.model(**{k: v[None] for k, v in one.items()}).last_hidden_state[0] for one in inputs_of]
        features = torch.stack([s[-1] if backbone.is_causal else s.mean(0) for s in states])
        close(module(*inputs.batch(rows)), features @ head_of(module).score.weight.T)
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        expected = torch.cat([module(*inputs.batch(row)) for row in rows.split(1)]).log_softmax(-1)
        close(module(*inputs.batch(rows)).log_softmax(-1), expected)

    student = tmp_path / "student"
    export_student(student, config=config, backbone=backbone, state=owned_state(module), choices=("no", "yes"), card="")
    close(load_student(student).log_probs(PROMPTS), expected)
    if (student / "ensemw2s.json").exists():
        return
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(student),
        AutoTokenizer.from_pretrained(student),
    )
    with torch.no_grad():
        close(model(**tokenizer(list(PROMPTS), padding=True, return_tensors="pt")).logits.log_softmax(-1), expected)
        for prompt, one in zip(PROMPTS, expected, strict=True):
            close(model(**tokenizer(prompt, return_tensors="pt")).logits[0].log_softmax(-1), one)
