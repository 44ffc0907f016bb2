import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.loading import checkpoint, load
from ensemw2s.models.loading.load import choose_dtype, load_backbone
from ensemw2s.models.loading.tiny import make_tiny


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def test_a_backbone_is_frozen_and_knows_what_it_is(tiny, tiny_encoder, gpt2, load_tiny):
    for folder, n_layers, is_causal in ((tiny, 4, True), (tiny_encoder, 3, False), (gpt2, 3, True)):
        backbone = load_tiny(folder)
        assert (backbone.n_layers, backbone.hidden_size, backbone.is_causal) == (n_layers, 32, is_causal)
        assert not backbone.model.training
        assert not any(p.requires_grad for p in backbone.model.parameters())


def test_loading_says_nothing(tiny, load_tiny, capfd):
    load_tiny(tiny, n_layers=2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("family", ["tiny", "gpt2", "tiny_encoder"])
def test_a_cut_backbone_equals_a_checkpoint_loaded_with_fewer_layers(family, request, load_tiny):
    folder = request.getfixturevalue(family)
    whole, loaded = load_tiny(folder), load_tiny(folder, n_layers=2)
    cut = whole.cut(2)
    x = torch.arange(2, 12).unsqueeze(0)
    assert cut.n_layers == loaded.n_layers == 2
    assert torch.equal(cut.model(x).last_hidden_state, loaded.model(x).last_hidden_state)
    assert cut.model.get_input_embeddings().weight is whole.model.get_input_embeddings().weight
    assert whole.n_layers == whole.model.config.num_hidden_layers > 2


def test_more_layers_than_the_checkpoint_has_are_refused_by_number(tiny, load_tiny):
    with pytest.raises(ModelError, match="n_layers is 9 but the checkpoint has 4 layers"):
        load_tiny(tiny, n_layers=9)


def test_the_fingerprint_follows_the_content_and_not_the_place(tiny, copied, load_tiny):
    before = load_tiny(copied).fingerprint
    assert before == load_tiny(tiny, n_layers=2).fingerprint
    weights = load_file(copied / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * 2
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    os.utime(copied / "model.safetensors", (1, 1))
    assert load_tiny(copied).fingerprint != before
    assert load_tiny(tiny, revision="v2").fingerprint != before


def test_a_missing_folder_and_a_malformed_hub_id_are_refused():
    with pytest.raises(ModelError, match="there is no such model folder"):
        load_backbone(ModelConfig(model="/nowhere/at/all"))


def test_a_hub_id_that_cannot_be_had_is_a_model_error(monkeypatch):
    def unreachable(*_args, **_settings):
        raise FileNotFoundError("no route")

    monkeypatch.setattr(checkpoint, "download", unreachable)
    with pytest.raises(ModelError, match=r"some/model.*no route"):
        load_backbone(ModelConfig(model="some/model"))


def test_a_pickled_checkpoint_is_refused_with_the_mend(copied, load_tiny):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pytorch_model.bin.*save_pretrained"):
        load_tiny(copied)


def test_a_folder_without_a_tokenizer_is_refused(copied, load_tiny):
    (copied / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="no tokenizer"):
        load_tiny(copied)


def test_a_checkpoint_that_lacks_weights_is_refused_rather_than_filled_at_random(copied, load_tiny):
    weights = load_file(copied / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks model.layers.1.mlp.up_proj.weight"):
        load_tiny(copied)


def test_a_damaged_weight_file_is_a_model_error(copied, load_tiny):
    with (copied / "model.safetensors").open("r+b") as handle:
        handle.truncate(1000)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_tiny(copied)


def _with_own_code(folder: Path, target: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "homemade", "auto_map": {"AutoConfig": target}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"import pathlib\npathlib.Path({str(folder / 'ran')!r}).touch()\n")


def test_code_in_a_model_folder_does_not_run_unless_the_user_names_it(copied, load_tiny):
    _with_own_code(copied, "code.Config")
    with pytest.raises(ModelError, match=r"refused by default.*trust_remote_code_from"):
        load_tiny(copied)
    assert not (copied / "ran").exists()


def test_trust_in_one_repository_does_not_extend_to_another(copied, load_tiny):
    _with_own_code(copied, "other/repository--code.Config")
    with pytest.raises(ModelError, match="other/repository"):
        load_tiny(copied, trust_remote_code_from=str(copied))


def test_bfloat16_is_chosen_only_where_the_cpu_multiplies_it(monkeypatch):
    monkeypatch.setattr(load, "device", lambda: torch.device("cpu"))
    for capability, expected in (
        ("avx2", torch.float32),
        ("avx512_bf16", torch.bfloat16),
        ("amx_bf16", torch.bfloat16),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=capability: {has: True})
        assert choose_dtype(ModelConfig()) is expected
    assert choose_dtype(ModelConfig(dtype="float32")) is torch.float32


def test_the_vocabulary_head_gives_the_language_models_own_logits(tiny, gpt2, load_tiny):
    from transformers import AutoModelForCausalLM

    x = torch.arange(2, 9).unsqueeze(0)
    tokens = torch.tensor([7, 3, 99])
    for folder in (tiny, gpt2):
        backbone = load_tiny(folder)
        with torch.no_grad():
            expected = AutoModelForCausalLM.from_pretrained(folder)(x).logits[0, -1]
            features = backbone.model(x).last_hidden_state[0, -1:]
            torch.testing.assert_close(backbone.unembedding(features)[0], expected)
            torch.testing.assert_close(backbone.unembedding.of_tokens(features, tokens)[0], expected[tokens])


def test_the_tiny_model_is_made_once_in_the_cache(home):
    first = checkpoint.resolve(ModelConfig(model="tiny"))
    changed = (Path(first) / "model.safetensors").stat().st_mtime_ns
    assert Path(first).is_relative_to(home)
    assert checkpoint.resolve(ModelConfig(model="tiny")) == first
    assert (Path(first) / "model.safetensors").stat().st_mtime_ns == changed


def test_a_tiny_model_depends_on_its_seed_alone(tiny, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    same = make_tiny(tmp_path / "same")
    other = make_tiny(tmp_path / "other", seed=1)
    assert torch.equal(before, torch.get_rng_state())
    weights = [(f / "model.safetensors").read_bytes() for f in (tiny, same, other)]
    assert weights[0] == weights[1] != weights[2]


def test_the_byte_tokenizer_gives_every_text_back(backbone):
    text = "Is Zürich in Switzerland? 是"
    ids = backbone.tokenizer(text)["input_ids"]
    assert len(ids) == len(text.encode())
    assert backbone.tokenizer.decode(ids) == text
