"""What a config.json declares is held against its weights before anything is built from it."""

import json
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.declared import check_declared
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.loading.tiny import make_tiny
from ensemw2s.models.loading.tokenizer import load_tokenizer

SPOILT: dict[str, tuple[Any, list[str]]] = {
    "ten million layers": ({"num_hidden_layers": 10**7}, ["num_hidden_layers is 1e+07", "38 tensors"]),
    "layers of another family": ({"n_layer": 10**7}, ["n_layer is 1e+07"]),
    "a vocabulary of 10**12": ({"vocab_size": 10**12}, ["vocab_size is 1e+12"]),
    "a negative size": ({"hidden_size": -8}, ["hidden_size is -8"]),
    "a huge size": ({"hidden_size": 10**9}, ["hidden_size is 1e+09"]),
    "sizes that are huge together": (
        {"hidden_size": 2**19, "vocab_size": 2**19, "intermediate_size": 2**19},
        ["parameters or so", "45,408 values"],
    ),
    "heads that are huge together": ({"num_attention_heads": 2**19, "head_dim": 2**19}, ["parameters or so"]),
    "within another configuration": ({"text_config": {"num_layers": 10**7}}, ["num_layers is 1e+07"]),
    "an infinite size": ({"intermediate_size": 10**400}, ["intermediate_size is inf"]),
    "no object": ([1], ["holds a list, not an object"]),
    "no JSON": ("{", ["not readable as JSON"]),
    "deep": ('{"a": ' + "[" * 100_000, ["not readable as JSON (nested deeper"]),
    "endless": ('{"a": "' + "x" * 2**23 + '"}', ["longer than 8,388,608 bytes"]),
    "not UTF-8": (b'{"a": "\xff"}', ["line 1: not UTF-8"]),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("declared") / "model")


@pytest.mark.parametrize("kind", SPOILT)
def test_a_config_json_of_which_no_model_could_be_built_is_refused_at_once(tiny: Path, kind: str):
    change, words = SPOILT[kind]
    path = tiny / "config.json"
    good = path.read_bytes()
    content = json.loads(good) | change if isinstance(change, dict) else change
    raw = content if isinstance(content, bytes | str) else json.dumps(content)
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        for read in (load_backbone, load_tokenizer):
            with pytest.raises(ModelError) as caught:
                read(ModelConfig(model=str(tiny)))
            assert all(word in str(caught.value) for word in [*words, str(tiny)]), caught.value
            assert "\n" not in str(caught.value)
    finally:
        path.write_bytes(good)
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


def test_a_size_that_the_library_divides_by_is_a_model_error(tiny: Path):
    path = tiny / "config.json"
    good = path.read_bytes()
    path.write_text(json.dumps(json.loads(good) | {"num_attention_heads": 0}))
    try:
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_backbone(ModelConfig(model=str(tiny)))
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize(
    "real",
    [
        # smollm2-135m, Llama 4 Scout, GPT-2, ALBERT, Gemma 3: what their own files declare.
        {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152},
        {"max_position_embeddings": 10_485_760, "num_local_experts": 16, "eos_token_id": 200_001},
        {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_ctx": 1024, "n_inner": None, "vocab_size": 50257},
        {"hidden_size": 4096, "num_hidden_layers": 12, "num_hidden_groups": 1, "inner_group_num": 1},
        {"sliding_window": -1, "query_pre_attn_scalar": 256, "rope_theta": 1_000_000.0, "image_token_index": 262_144},
    ],
)
def test_what_real_models_declare_is_accepted(tmp_path: Path, real: dict[str, Any]):
    (tmp_path / "config.json").write_text(json.dumps(real))
    check_declared("model", tmp_path)
