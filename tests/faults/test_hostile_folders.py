"""Model, student and ensemble folders that somebody else made: no code runs, nothing is asked, nothing outside is read.

Each ends in one paragraph that names the fault, in seconds, or is loaded as the library's own class.
"""

import ast
import builtins
import json
import os
import pickle
import resource
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import ensemw2s
from damage import fresh_copy
from ensemw2s.config import ModelConfig
from ensemw2s.errors import ConfigError, EnsemW2SError, ModelError
from ensemw2s.export.ensembles.ensemble_folder import read_ensemble_record
from ensemw2s.export.ensembles.labeller import open_labeller, open_reader
from ensemw2s.export.student import answer_prompts, saved_prompting
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.loading.tiny import make_tiny
from ensemw2s.storage import checksums

PROMPTS = ["Is 90 above 3?", "Is 4 above 70?"]
SOURCES = Path(ensemw2s.__file__).parent
SECONDS, BYTES = 5.0, 2**30


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch):
    def asked(*_: object) -> str:
        raise AssertionError("the library asks on standard input")

    monkeypatch.setattr(builtins, "input", asked)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("model") / "tiny")


def settings(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def sealed(folder: Path) -> None:
    """What somebody does who knows of the checksums."""
    names = checksums.listed(folder)
    assert names is not None
    (folder / checksums.FILE).write_text(checksums.checksums_of(folder, [n for n in names if (folder / n).is_file()]))


def own_code(folder: Path, where: str = "") -> Path:
    """A module that leaves a mark when it is imported, named by everything that can name one; returns the mark."""
    mark = folder.parent / "marker"
    (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).write_text('ran')\nclass C: pass\n")
    classes = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    settings(folder / "config.json", auto_map=dict.fromkeys(classes, f"{where}evil.C"))
    file = folder / "tokenizer_config.json"
    settings(file, auto_map={"AutoTokenizer": [f"{where}evil.C", f"{where}evil.C"]})
    return mark


def index(**changes: Any) -> Callable[[Path], None]:
    """The weights in two files with an index that is wrong."""

    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").rename(folder / "model-00001.safetensors")
        tree = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "model-00001.safetensors")}
        (folder.parent / "outside.safetensors").write_bytes((folder / "model-00001.safetensors").read_bytes())
        (folder / "model.safetensors.index.json").write_text(json.dumps(tree | changes))

    return spoil


def at(file: str) -> Callable[[Path], None]:
    return index(weight_map={"embed_tokens.weight": file})


def outside(folder: Path) -> None:
    index(weight_map={"embed_tokens.weight": str(folder.parent / "outside.safetensors")})(folder)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))


def zipped(folder: Path) -> None:
    torch.save({"a": torch.ones(2)}, folder / "pytorch_model.bin")
    at("pytorch_model.bin")(folder)


def linked(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).rename(folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)

    return spoil


def replaced(name: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return spoil


def huge(file: Path) -> None:
    with file.open("wb") as handle:
        handle.truncate(2**34)


def adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')


def tokenizer_of(content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.model").write_bytes(content)

    return spoil


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: settings(folder / "config.json", **changes)


MODELS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "index to an absolute path": (outside, "only .safetensors files of the folder itself"),
    "index to a folder above": (at("../outside.safetensors"), "only .safetensors files of the folder itself"),
    "index to a folder below": (at("sub/model.safetensors"), "only .safetensors files of the folder itself"),
    "index to a pickle": (zipped, "pytorch_model.bin"),
    "index to a name of no file": (at("a\0.safetensors"), "lacks"),
    "index to half a character": (at("\ud800.safetensors"), "lacks"),
    "index to a number": (index(weight_map={"a": 5}), "lies in 5"),
    "index of nothing": (index(weight_map={}), "not an index of weights"),
    "index without metadata": (index(metadata=None), "not an index of weights"),
    "index that is deep": (
        lambda f: [index()(f), (f / "model.safetensors.index.json").write_text("[" * 10**6)],
        "model.safetensors.index.json",
    ),
    "index that is a list": (lambda f: (f / "x.safetensors.index.json").write_text("[]"), "list, not an object"),
    "weights that are a pickle": (pickled, "cannot be loaded"),
    "weights by a link out of the folder": (linked("model.safetensors"), "leads out of the folder"),
    "tokenizer by a link out of the folder": (linked("tokenizer.json"), "leads out of the folder"),
    "link to itself": (
        replaced("model.safetensors", lambda p: p.symlink_to(p)),
        "model.safetensors",
    ),
    "link to nothing": (replaced("tokenizer.json", lambda p: p.symlink_to(p.parent / "no")), "a link to nothing"),
    "settings that are a named pipe": (replaced("config.json", os.mkfifo), "not a file"),
    "weights that are a named pipe": (replaced("model.safetensors", os.mkfifo), "not a file"),
    "settings that are a folder": (replaced("config.json", os.mkdir), "not a file"),
    "settings of 16 GiB": (replaced("config.json", huge), "more than the"),
    "tokenizer of 16 GiB": (replaced("tokenizer.json", huge), "more than the"),
    "settings that are a list": (lambda f: (f / "config.json").write_text("[]"), "list, not an object"),
    "settings that are deep": (lambda f: (f / "config.json").write_text('{"a":' * 10**5), "cannot be loaded"),
    "settings that are no text": (lambda f: (f / "config.json").write_bytes(b"\xff"), "not UTF-8"),
    "settings that name weights elsewhere": (config(transformers_weights="../outside.safetensors"), "outside"),
    "settings that name a pickle": (config(transformers_weights="pytorch_model.bin"), "of another kind"),
    "settings that name a kernel of the hub": (config(attn_implementation="owner/kernel"), "code of another"),
    "settings that name a kernel within": (config(text_config={"_attn_implementation": "o/k"}), "code of another"),
    "auto_map that is a number": (config(model_type="none", auto_map=5), "cannot be loaded"),
    "code of its own": (lambda f: [own_code(f), config(model_type="none")(f)], "runs code of its own"),
    "adapter of PEFT": (adapter, "is a PEFT adapter"),
    "tokenizer of SentencePiece": (tokenizer_of(b"\n\x0c\n\x05<unk>"), "needs the package sentencepiece"),
    "tokenizer of tiktoken": (tokenizer_of(b"IQ== 0\nIg== 1\n"), "needs the package tiktoken"),
}


def refused(call: Callable[[], Any], words: str) -> str:
    """The message of one refusal in one paragraph, which cost little."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(EnsemW2SError) as caught:
        call()
    message = str(caught.value)
    assert words in message, message
    assert "\n" not in message
    assert len(message) < 1500
    assert time.monotonic() - start < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BYTES
    return message


@pytest.mark.parametrize("kind", MODELS)
def test_a_hostile_model_folder_is_refused_by_name(kind, tiny_model, tmp_path):
    spoil, words = MODELS[kind]
    if "tiktoken" in kind and find_spec("tiktoken"):
        pytest.skip("the package that the tokenizer needs is there")
    folder = fresh_copy(tiny_model, tmp_path / "model")
    spoil(folder)
    refused(lambda: load_backbone(ModelConfig(model=str(folder))), words)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("where", ["", "owner/name--"])
def test_a_model_with_code_of_its_own_is_loaded_as_the_librarys_class(tiny_model, tmp_path, where):
    folder = fresh_copy(tiny_model, tmp_path / "model")
    mark = own_code(folder, where)
    ours, plain = (load_backbone(ModelConfig(model=str(f))) for f in (folder, tiny_model))
    assert type(ours.model) is type(plain.model)
    assert not mark.exists()


def test_an_index_and_links_within_a_folder_and_the_hubs_cache_are_read(tiny_model, tmp_path):
    folder = fresh_copy(tiny_model, tmp_path / "models--a--b" / "snapshots" / ("1" * 40))
    index()(folder)
    blobs, shared = tmp_path / "models--a--b" / "blobs", tmp_path / "blobs" / "0a"
    blobs.mkdir()
    shared.mkdir(parents=True)
    for k, path in enumerate(sorted(folder.iterdir())):
        if k % 2:
            path.rename(blobs / str(k))
        else:
            path.rename(shared / str(k))
            (blobs / str(k)).symlink_to(Path("..", "..", "blobs", "0a", str(k)))
        path.symlink_to(Path("..", "..", "blobs", str(k)))
    (tmp_path / "link").symlink_to(folder)
    plain = load_backbone(ModelConfig(model=str(tiny_model)))
    for place in (folder, tmp_path / "link"):
        found = load_backbone(ModelConfig(model=str(place)))
        assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), plain.model.parameters(), strict=True))


def test_every_call_of_the_library_says_whether_code_may_run_and_reads_safetensors_alone():
    calls = 0
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name = node.func.attr
            called = ast.unparse(node.func)
            # Only these look for code; a class that is at hand is the library's.
            if name not in ("from_pretrained", "from_config") or not called.lower().startswith("auto"):
                continue
            calls += 1
            given = {keyword.arg for keyword in node.keywords}
            assert "trust_remote_code" in given, f"{path}:{node.lineno}: {called}"
            if name == "from_pretrained" and "Model" in called:
                assert given & {"use_safetensors", "gguf_file"}, f"{path}:{node.lineno}: {called}"
    assert calls > 8


def student_answers(folder: Path, **options: Any) -> list[dict[str, Any]]:
    saved_prompting(folder)
    return list(answer_prompts(folder, PROMPTS, **options))


def ensemble_labels(folder: Path, **options: Any) -> list[dict[str, Any]]:
    read_ensemble_record(folder)
    return open_labeller(folder, **options).label(PROMPTS)


def test_code_that_a_student_brings_never_runs(finished, tmp_path):
    folder = fresh_copy(finished / "student", tmp_path / "student")
    mark = own_code(folder)
    sealed(folder)
    refused(lambda: student_answers(folder), "evil.py was added")
    (folder / "evil.py").rename(folder / "evil.txt")
    listing = json.loads((folder / checksums.FILE).read_text())["files"]
    (folder / "evil.txt").rename(folder / "evil.py")
    (folder / checksums.FILE).write_text(checksums.checksums_of(folder, [*listing, "evil.py"]))
    assert student_answers(folder) == student_answers(finished / "student")
    settings(folder / "config.json", model_type="none")
    sealed(folder)
    refused(lambda: student_answers(folder), "runs code of its own")
    with pytest.raises(ModelError, match="asks to run code of another repository"):
        student_answers(folder, trusted="owner/name")
    assert not mark.exists()


def test_an_ensemble_that_trusts_its_own_model_runs_nothing(finished, tiny_model, tmp_path):
    evil = fresh_copy(tiny_model, tmp_path / "evil")
    mark = own_code(evil)
    settings(evil / "config.json", model_type="none")
    folder = fresh_copy(finished / "ensemble", tmp_path / "ensemble")
    weak = json.loads((folder / "ensemble.json").read_text())["weak"]
    assert weak["trust_remote_code_from"] is None
    settings(folder / "ensemble.json", weak=weak | {"model": str(evil), "trust_remote_code_from": str(evil)})
    sealed(folder)
    for use in (ensemble_labels, open_reader):
        assert "--trust-remote-code-from" in refused(lambda use=use: use(folder), "runs code of its own")
    with pytest.raises(ConfigError, match=r"--trust-remote-code-from: got 'other'"):
        ensemble_labels(folder, trusted="other")
    assert not mark.exists()
    with pytest.raises(ModelError):  # its class is no model
        ensemble_labels(folder, trusted=str(evil))
    assert mark.read_text() == "ran"


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"expert_weights": [1.0] * 9}, ["expert_weights has 9 values"]),
    ({"expert_weights": "many"}, ["expert_weights", "'many'"]),
    ({"expert_weights": [float("nan")]}, ["expert_weights.0", "finite"]),
    ({"expert_weights": [-1.0]}, ["expert_weights.0", "greater than or equal to 0"]),
    ({"expert_ids": [], "expert_weights": []}, ["expert_ids", "at least 1"]),
    ({"vote": "loud"}, ["vote", "'loud'"]),
    ({"method": 7}, ["method", "7"]),
    ({"answer_form": "song"}, ["answer_form", "'song'"]),
    ({"weak_fingerprint": "x"}, ["weak_fingerprint"]),
    ({"weak": {"model": "tiny", "n_layers": 0}}, ["weak.n_layers"]),
    ({"weak": None}, ["weak"]),
    ({"prompt": "{{ q"}, ["ensemble.json", "template", "--prompt"]),
    ({"prompt": 5}, ["prompt", "got 5"]),
    ({"format": 99}, ["format", "99"]),
    ({"new_setting": 1}, ["new_setting is unknown to this version"]),
]
WRONG_CHOICES: list[tuple[dict[str, Any], list[str]]] = [
    ({"temperature": 0}, ["temperature", "greater than 0"]),
    ({"temperature": -1.0}, ["temperature", "greater than 0"]),
    ({"temperature": float("nan")}, ["temperature"]),
    ({"temperature": float("inf")}, ["temperature", "finite"]),
    ({"choices": ["yes"]}, ["choices", "at least 2"]),
    ({"choices": ["yes", "yes"]}, ["choices are not distinct"]),
    ({"choices": ["a", "b", "c"]}, ["do not fit", "another number of classes"]),
    ({"depths": [1] * 7}, ["depths has 7 values"]),
    ({"depths": [0]}, ["depths.0"]),
]
WRONG_WORDS: list[tuple[dict[str, Any], list[str]]] = [
    ({"vote": "hard"}, ["vote: hard is not one of tokens"]),
    ({"decoding": {"temperature": -1}}, ["decoding.temperature"]),
    ({"decoding": {"max_new_tokens": 10**6}}, ["leaves no token for a prompt"]),
    ({"decoding": []}, ["decoding"]),
]


def test_every_wrong_field_of_an_ensemble_is_named(finished, tmp_path):
    words = "decoding" in json.loads((finished / "ensemble" / "ensemble.json").read_text())
    for changes, expected in WRONG + (WRONG_WORDS if words else WRONG_CHOICES):
        folder = fresh_copy(finished / "ensemble", tmp_path / "ensemble")
        settings(folder / "ensemble.json", **changes)
        sealed(folder)
        message = refused(lambda: ensemble_labels(folder), expected[0])  # noqa: B023
        assert all(word in message for word in expected), message


def test_records_of_16_gib_are_refused_by_their_size(finished, tmp_path):
    for part, use in (("student", student_answers), ("ensemble", ensemble_labels)):
        names = {p.name for p in (finished / part).glob("*.json")} - {"tokenizer.json", "tokenizer_config.json"}
        for name in names:
            folder = fresh_copy(finished / part, tmp_path / part)
            huge(folder / name)
            refused(lambda: use(folder), name)  # noqa: B023


def test_every_field_that_an_ensemble_lacks_is_named(finished, tmp_path):
    folder = fresh_copy(finished / "ensemble", tmp_path / "ensemble")
    record = json.loads((folder / "ensemble.json").read_text())
    for name in record.keys() - {"contexts", "depths", "format", "is_prompted", "models", "others"}:
        (folder / "ensemble.json").write_text(json.dumps({k: v for k, v in record.items() if k != name}))
        sealed(folder)
        refused(lambda: ensemble_labels(folder), name)
    (folder / "ensemble.json").write_text(json.dumps({"answer_form": record["answer_form"]}))
    message = refused(lambda: ensemble_labels(folder), "the field method is missing")
    assert all(name in message for name in ("method", "expert_ids", "weak_fingerprint", "config_hash", "vote"))


def test_tensors_that_are_no_numbers_or_fit_no_model_are_refused(finished, tmp_path):
    whole = load_file(finished / "ensemble" / "experts.safetensors")
    name = next(n for n in whole if not n.endswith("scale"))
    cases = [
        ({name: whole[name] * float("nan")}, "NaN or infinite"),
        ({name: whole[name] + float("inf")}, "NaN or infinite"),
        ({name: torch.zeros(3, 5)}, "has shape"),
        ({"expert0/other": torch.zeros(2)}, "unknown tensor other"),
        ({"expert77/score.weight": torch.zeros(2)}, "of none of"),
        ({name.replace(name.rpartition("/")[2], "scale"): torch.zeros(2)}, "not above 0"),
        ({"stray": torch.zeros(2)}, "of none of"),
    ]
    for changes, words in cases:
        folder = fresh_copy(finished / "ensemble", tmp_path / "ensemble")
        save_file(whole | changes, folder / "experts.safetensors")
        sealed(folder)
        refused(lambda: ensemble_labels(folder), words)  # noqa: B023
    folder = fresh_copy(finished / "ensemble", tmp_path / "ensemble")
    save_file({n: t for n, t in whole.items() if n != name}, folder / "experts.safetensors")
    sealed(folder)
    refused(lambda: ensemble_labels(folder), "lacks")


def test_wrong_records_of_a_student_are_named(finished, tmp_path):
    words = (finished / "student" / "answers.json").exists()
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("prompting.json", {"template": 5}, "template"),
        ("prompting.json", {"template": "{{ q"}, "template"),
        ("prompting.json", {"chat": "false"}, "chat"),
        ("prompting.json", {"other": 1}, "other is unknown"),
        ("checksums.json", {"files": {"../../x": {"bytes": 1, "sha256": ""}}}, "checksums.json"),
        ("checksums.json", {"files": []}, "checksums.json"),
        ("checksums.json", {"format": 9}, "checksums.json is unreadable"),
    ]
    if words:
        cases += [
            ("answers.json", {"max_length": "x"}, "max_length"),
            ("answers.json", {"max_length": 1}, "leaves no token"),
            ("answers.json", {"decoding": {"temperature": -1}}, "decoding.temperature"),
        ]
    else:
        cases += [
            ("config.json", {"id2label": {"0": "yes", "1": "yes"}}, "not two or more distinct"),
            ("config.json", {"ensemw2s_link": []}, "ensemw2s_link"),
            ("config.json", {"architectures": {"a": [5]}}, "not a student"),
        ]
    for file, changes, expected in cases:
        folder = fresh_copy(finished / "student", tmp_path / "student")
        settings(folder / file, **changes)
        if file != checksums.FILE:
            sealed(folder)
        refused(lambda: student_answers(folder), expected)  # noqa: B023


def test_a_students_weights_that_are_no_numbers_are_refused(finished, tmp_path):
    folder = fresh_copy(finished / "student", tmp_path / "student")
    tensors = load_file(folder / "model.safetensors")
    name = sorted(tensors)[-1]
    save_file(tensors | {name: tensors[name] * float("nan")}, folder / "model.safetensors", metadata={"format": "pt"})
    sealed(folder)
    refused(lambda: student_answers(folder), "NaN or infinite")
