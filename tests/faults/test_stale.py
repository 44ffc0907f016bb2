"""What the store keeps of one task is not taken for another that looks like it."""

import time

import pytest

from damage import flipped
from ensemw2s.models.loading.checkpoint import fingerprint
from ensemw2s.models.loading.tiny import make_tiny
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import read_timing
from ensemw2s.storage import checksums

SMALL = {"seeds": [0], "ensemble": {"methods": ["single"]}, "students": {"recipes": [{}]}}


@pytest.mark.parametrize(
    ("rated", "kinds"),
    [
        ({"source": "column"}, ("experts", "students")),
        ({"source": "entropy", "n_labelled": 60, "n_folds": 2}, ("ratings", "experts", "students")),
    ],
    ids=["difficulty of a column", "difficulty by the weak model"],
)
def test_a_class_more_is_another_task_though_no_example_has_it(rated, kinds, tiny_config, tmp_path):
    kept = []
    for choices in (["no", "yes"], ["no", "yes", "maybe"]):
        config = tiny_config(**SMALL, task={"choices": choices}, difficulty=rated)
        run(config, tmp_path / str(len(choices)), store_root=tmp_path / "store")
        kept.append({kind: len(list((tmp_path / "store" / kind).glob("*/*"))) for kind in kinds})
    first, both = kept
    assert all(first.values())
    assert both == {kind: 2 * n for kind, n in first.items()}


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"])
def test_what_a_model_folder_decides_is_in_its_fingerprint_though_size_and_time_are_kept(name, tmp_path):
    folder = make_tiny(tmp_path / "model")
    before = fingerprint(folder, None)
    flipped(folder / name)
    assert fingerprint(folder, None) != before


@pytest.mark.parametrize(
    ("name", "decides"),
    [
        *[("vocab.bpe", True), ("chat_template.jinja", True), ("additional_chat_templates/rag.jinja", True)],
        *[("README.md", False), ("pytorch_model.bin", False), (".gitattributes", False), ("checksums.json", False)],
    ],
)
def test_a_file_more_is_another_model_where_the_library_may_read_it(name, decides, tmp_path):
    folder = make_tiny(tmp_path / "model")
    before = fingerprint(folder, None)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("something")
    assert (fingerprint(folder, None) != before) == decides


def test_a_large_file_is_read_once_unless_anything_of_it_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "LARGE", 1)
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    first = checksums.facts(file)
    assert checksums.facts(file) is first
    time.sleep(0.02)  # more than one tick of the kernel's clock
    flipped(file)
    assert checksums.facts(file) != first


def test_a_tokenizer_that_changed_makes_new_experts(tiny_config, tmp_path):
    folder = make_tiny(tmp_path / "model")
    models = {"weak": {"model": str(folder)}, "strong": {"model": str(folder)}}
    config = tiny_config(**SMALL, **models)
    run(config, tmp_path / "first", store_root=tmp_path / "store")
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace('"add_prefix_space": false', '"add_prefix_space": true', 1))
    run(config, tmp_path / "second", store_root=tmp_path / "store")
    counts = {s.stage: (s.computed, s.reused) for s in read_timing(tmp_path / "second").stages}
    assert counts["experts"][0] > 0
    assert counts["experts"][1] == 0
