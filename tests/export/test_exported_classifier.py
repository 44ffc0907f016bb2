import json
import os
import shutil
from dataclasses import replace

import pytest
import torch

from ensemw2s.config import CacheConfig, ModelConfig
from ensemw2s.core.losses import LINKS
from ensemw2s.errors import DataError, ModelError, RunError
from ensemw2s.export.classifier import export_student, load_student
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import build_adapter, fit_scale, owned_state
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.loading.pooling import pooling_of
from ensemw2s.train.loop import predict

PROMPTS = [
    "Is Paris in France?",
    "no",
    "Is Zürich, a city of many words, in Norway?",
    "Is Oslo in Norway?",
    "x",
]
CHOICES = ("no", "yes", "perhaps")
CARD = "# A student\n"
CACHE = CacheConfig(trunk_cache="memory", batch_tokens=64)


@pytest.fixture
def trained(tmp_path, store):
    """Train an adapter a little, export it; gives the folder and the adapter's own log-probabilities."""

    def make(backbone, adapter: str, link="softmax", **settings):
        config = ModelConfig(model="tiny", adapter=adapter, n_layers=2, top_layers=1, lora_rank=4, **settings)
        backbone = replace(backbone, pooling=pooling_of(config, is_causal=backbone.is_causal))
        generator = torch.Generator().manual_seed(0)
        module = build_adapter(config, backbone, len(CHOICES), dropout=0.0, init_std=0.5, generator=generator)
        ids = backbone.tokenizer(PROMPTS)["input_ids"]
        inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
        fit_scale(module, inputs, torch.arange(3))
        batch = inputs.batch(torch.arange(len(PROMPTS)))
        optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.02)
        for _ in range(3):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(module(*batch), torch.tensor([0, 1, 2, 0, 1])).backward()
            optimiser.step()
        folder = tmp_path / "student"
        export_student(
            folder, config=config, backbone=backbone, state=owned_state(module), choices=CHOICES, card=CARD, link=link
        )
        return folder, predict(module, inputs, torch.arange(len(PROMPTS)), link=link)

    return make


LIBRARY = [(family, adapter) for family in ("tiny", "gpt2") for adapter in ("head", "lora", "full")] + [("tiny", "top")]
PACKAGE = [("tiny", "head", 5), ("tiny", "lora", 5), ("tiny", "full", 5)]
PACKAGE += [("tiny_encoder", "head", 0), ("tiny_encoder", "lora", 4), ("tiny_encoder", "full", 0)]


@pytest.mark.parametrize(("family", "adapter"), LIBRARY)
def test_the_librarys_own_classes_load_the_student_and_give_our_logits(family, adapter, request, load_tiny, trained):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    backbone = load_tiny(request.getfixturevalue(family))
    before = {name: p.clone() for name, p in backbone.model.named_parameters()}
    folder, expected = trained(backbone, adapter)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer(PROMPTS, padding=True, return_tensors="pt")).logits
    torch.testing.assert_close(logits.log_softmax(-1), expected, rtol=1e-4, atol=1e-4)
    assert model.config.num_hidden_layers == 2
    assert model.config.id2label == dict(enumerate(CHOICES))
    assert model.config.label2id == {choice: k for k, choice in enumerate(CHOICES)}
    assert (folder / "README.md").read_text() == CARD
    assert not (folder / "ensemw2s.json").exists()
    assert all(torch.equal(before[name], p) for name, p in backbone.model.named_parameters())


@pytest.mark.parametrize(("family", "adapter"), LIBRARY)
def test_a_library_student_predicts_what_it_was_exported_with(family, adapter, request, load_tiny, trained):
    folder, expected = trained(load_tiny(request.getfixturevalue(family)), adapter)
    student = load_student(folder)
    assert student.choices == CHOICES
    torch.testing.assert_close(student.log_probs(PROMPTS, batch_tokens=40), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "adapter", "hidden"), PACKAGE)
def test_what_the_library_cannot_hold_is_a_package_folder(family, adapter, hidden, request, load_tiny, trained):
    folder, expected = trained(load_tiny(request.getfixturevalue(family)), adapter, head_hidden=hidden)
    assert {"ensemw2s.json", "head.safetensors", "model.safetensors", "README.md"} <= set(os.listdir(folder))
    student = load_student(folder)
    assert student.choices == CHOICES
    torch.testing.assert_close(student.log_probs(PROMPTS), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("adapter", ["head", "top", "lora", "full"])
@pytest.mark.parametrize(
    ("family", "pooling"), [("tiny", "mean"), ("tiny", "auto"), ("tiny_encoder", "cls"), ("tiny_encoder", "auto")]
)
def test_a_student_pools_as_it_did_in_training(family, pooling, adapter, request, load_tiny, trained):
    folder, expected = trained(load_tiny(request.getfixturevalue(family)), adapter, pooling=pooling)
    assert json.loads((folder / "ensemw2s.json").read_text())["pooling"] == pooling
    torch.testing.assert_close(load_student(folder).log_probs(PROMPTS, batch_tokens=40), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("block", "pooling"), [(0, "last"), (1, "mean")])
def test_a_head_that_reads_one_of_two_poolings_is_exported_with_that_alone(
    block, pooling, tiny, load_tiny, tmp_path, store
):
    backbone = load_tiny(tiny, pooling="auto")
    config = ModelConfig(model="tiny", n_layers=2, pooling="auto")
    module = build_adapter(config, backbone, 3, dropout=0.0, init_std=0.5, generator=torch.Generator().manual_seed(0))
    module.restrict(module.blocks()[block])
    ids = backbone.tokenizer(PROMPTS)["input_ids"]
    inputs = open_activations(backbone, ids, config=config, cache=CACHE, store=store)
    folder = tmp_path / "student"
    export_student(folder, config=config, backbone=backbone, state=owned_state(module), choices=CHOICES, card=CARD)
    student, expected = load_student(folder), predict(module, inputs, torch.arange(len(PROMPTS)))
    assert student.backbone.pooling == (pooling,)
    assert (folder / "ensemw2s.json").exists() == (pooling == "mean")
    torch.testing.assert_close(student.log_probs(PROMPTS), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hidden", [0, 5], ids=["library", "package"])
@pytest.mark.parametrize("link", LINKS)
def test_a_student_is_read_as_the_folder_says_and_by_softmax_where_an_older_one_does_not(
    link, hidden, tiny, load_tiny, trained
):
    folder, expected = trained(load_tiny(tiny), "head", link=link, head_hidden=hidden)
    torch.testing.assert_close(load_student(folder).log_probs(PROMPTS), expected, rtol=1e-5, atol=1e-5)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    assert config["ensemw2s_link"] == link
    path.write_text(json.dumps(config | {"ensemw2s_link": "sparsemax"}))
    with pytest.raises(ModelError, match="'sparsemax', this version reads softmax, dirichlet-relu"):
        load_student(folder)
    # A folder of the library's own has neither, and is read by softmax.
    del config["ensemw2s_link"]
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"not the student that was exported: config\.json has"):
        load_student(folder)
    for name in ("checksums.json", "prompting.json"):
        (folder / name).unlink()
    is_same = torch.allclose(load_student(folder).log_probs(PROMPTS), expected, atol=1e-4)
    assert is_same == (link == "softmax")


def test_a_student_of_a_bfloat16_trunk_is_written_in_float32(tiny, trained):
    backbone = load_backbone(ModelConfig(model=str(tiny), dtype="bfloat16"))
    folder, expected = trained(backbone, "head")
    assert backbone.model.dtype is torch.bfloat16
    torch.testing.assert_close(load_student(folder).log_probs(PROMPTS).exp(), expected.exp(), rtol=0, atol=0.05)


def test_a_prompt_that_ends_with_the_end_of_text_keeps_its_last_token(gpt2, load_tiny, trained):
    folder, _ = trained(load_tiny(gpt2), "head")
    student = load_student(folder)
    end = student.backbone.tokenizer.eos_token
    first, second = student.log_probs(["no", f"no{end}"])
    assert not torch.allclose(first, second)


def test_an_exported_student_names_no_code_of_the_checkpoint_that_did_not_run(tiny, trained, tmp_path):
    copied = shutil.copytree(tiny, tmp_path / "copied")
    for name in ("config.json", "tokenizer_config.json"):
        settings = json.loads((copied / name).read_text())
        (copied / name).write_text(json.dumps(settings | {"auto_map": {"AutoModel": "other.C"}}))
    folder, expected = trained(load_backbone(ModelConfig(model=str(copied), dtype="float32")), "head")
    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in json.loads((folder / name).read_text())
    torch.testing.assert_close(load_student(folder).log_probs(PROMPTS), expected, rtol=1e-4, atol=1e-4)


def test_exporting_again_replaces_the_older_student_whole(tiny, load_tiny, trained):
    folder, _ = trained(load_tiny(tiny), "head", head_hidden=4)
    trained(load_tiny(tiny), "head")
    assert not (folder / "ensemw2s.json").exists()
    assert os.listdir(folder.parent) == ["student"]


def test_an_export_that_fails_leaves_the_older_student(tiny, load_tiny, trained, monkeypatch):
    folder, expected = trained(load_tiny(tiny), "head")

    def full(*_args, **_settings):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(load_tiny(tiny).tokenizer), "save_pretrained", full)
        with pytest.raises(RunError, match="no space"):
            trained(load_tiny(tiny), "head", head_hidden=4)
    assert os.listdir(folder.parent) == ["student"]
    torch.testing.assert_close(load_student(folder).log_probs(PROMPTS), expected, rtol=1e-4, atol=1e-4)


def test_a_state_for_another_number_of_classes_is_refused(tiny, load_tiny, tmp_path):
    state = {"score.weight": torch.zeros(2, 32), "scale": torch.ones(32)}
    with pytest.raises(ModelError, match="another number of classes"):
        export_student(
            tmp_path / "s",
            config=ModelConfig(model="tiny"),
            backbone=load_tiny(tiny),
            state=state,
            choices=CHOICES,
            card="",
        )


def test_a_folder_that_is_no_student_is_refused(tiny, tmp_path):
    for folder in (tiny, tmp_path, tmp_path / "absent"):
        with pytest.raises(ModelError, match="not a student"):
            load_student(folder)


def test_a_damaged_student_is_a_model_error(tiny, load_tiny, trained):
    folder, _ = trained(load_tiny(tiny), "head", head_hidden=4)
    (folder / "ensemw2s.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(ModelError, match=r"damaged \(the field choices is missing; the field head_hidden is missing\)"):
        load_student(folder)


def test_a_prompt_that_the_student_cannot_read_is_named(tiny, load_tiny, trained):
    folder, _ = trained(load_tiny(tiny), "head", max_length=20)
    student = load_student(folder)
    with pytest.raises(DataError, match=r"prompt 'aaa.*25 tokens, the student reads 1 to 20"):
        student.log_probs(["fine", "a" * 25])
    with pytest.raises(DataError, match="0 tokens"):
        student.log_probs([""])
    assert student.log_probs([]).shape == (0, 3)
