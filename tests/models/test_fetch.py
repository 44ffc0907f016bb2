import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from ensemw2s.config import ModelConfig, parse_config
from ensemw2s.errors import ModelError, RunError
from ensemw2s.models.loading import convert, hub
from ensemw2s.models.loading import fetch as fetching
from ensemw2s.models.loading.fetch import KNOWN, KnownModel, WheelFile, fetch
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.trunk import pooled_features
from ensemw2s.pipeline.run import run
from ensemw2s.storage.files import new_folder
from tiny_run import merged, tiny_tree

GGUF = b"GGUF" + bytes(range(200))
NAME = "toy"


def known(content: bytes = GGUF) -> KnownModel:
    return KnownModel(
        hub_id="owner/toy",
        requirement="toy-model==1.0",
        files=(WheelFile("toy.gguf", len(content), sha256(content).hexdigest()),),
        licence="Apache-2.0",
    )


class World:
    """A hub that does not answer, an index that gives a wheel, and a converter; each call is counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.content: bytes | None = GGUF
        self.downloads = 0
        self.conversions = 0
        self.said: list[str] = []
        monkeypatch.setitem(KNOWN, NAME, known())
        monkeypatch.setattr(hub, "download", self._hub)
        monkeypatch.setattr(fetching.subprocess, "run", self._pip)
        monkeypatch.setattr(convert, "convert_gguf", self._convert)

    def fetch(self) -> Path:
        return fetch(NAME, echo=self.said.append)

    def _hub(self, *_args: object, **_settings: object) -> Path:
        raise FileNotFoundError("no route")

    def _pip(self, command: list[str], **_settings: object) -> subprocess.CompletedProcess[str]:
        self.downloads += 1
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        if self.content is None:
            return subprocess.CompletedProcess(command, 1, "", "trying\nERROR: no matching distribution\n")
        folder = Path(command[command.index("-d") + 1])
        with zipfile.ZipFile(folder / "toy_model-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("toy_model/toy.gguf", self.content)
        return subprocess.CompletedProcess(command, 0, "", "")

    def _convert(self, file: Path, folder: Path) -> None:
        self.conversions += 1
        assert file.read_bytes() == GGUF
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "config.json").write_text("{}")


@pytest.fixture
def world(monkeypatch, home) -> World:
    return World(monkeypatch)


def left(home: Path) -> set[str]:
    folder = home / "models"
    return {name for name in os.listdir(folder) if not name.endswith(".lock")} if folder.is_dir() else set()


def test_without_a_hub_the_model_comes_out_of_the_wheel(world, home):
    folder = world.fetch()
    assert folder == home / "models" / NAME
    assert sorted(os.listdir(folder)) == ["config.json", "manifest.json", "model.safetensors"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["model.safetensors"] == {"bytes": 7, "sha256": sha256(b"weights").hexdigest()}
    assert manifest["source"] == "4-bit weights from the package toy-model==1.0"
    assert left(home) == {NAME}
    assert any("the hub does not give it" in line for line in world.said)


def test_a_second_call_is_silent_and_quick(world):
    world.fetch()
    world.said.clear()
    start = time.perf_counter()
    world.fetch()
    assert time.perf_counter() - start < 0.1
    assert (world.downloads, world.said) == (1, [])


def test_the_hub_is_preferred(world, home, tmp_path, monkeypatch):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text(name)
    asked = {}

    def answer(name, **settings):
        asked.update(settings, name=name)
        return tmp_path

    monkeypatch.setattr(hub, "download", answer)
    folder = world.fetch()
    assert world.downloads == 0
    assert asked["name"] == "owner/toy"
    assert not any(pattern.endswith((".bin", ".py")) for pattern in asked["patterns"])
    assert (folder / "model.safetensors").read_text() == "model.safetensors"
    assert json.loads((folder / "manifest.json").read_text())["source"] == "from the hub, owner/toy"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GGUF[:-1] + b"\0", "sha256 is .* the file was changed"),
        (GGUF[:-1], "has 203 bytes in it, not 204"),
        (None, "pip cannot download it .ERROR: no matching distribution"),
    ],
)
def test_what_is_not_the_expected_file_is_refused_and_leaves_nothing(world, home, content, message):
    world.content = content
    with pytest.raises(ModelError, match=message):
        world.fetch()
    assert left(home) == set()
    assert world.conversions == 0


def test_a_damaged_wheel_is_a_model_error(world, home, monkeypatch):
    def torn(command, **_settings):
        Path(command[command.index("-d") + 1], "toy.whl").write_bytes(b"PK torn")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetching.subprocess, "run", torn)
    with pytest.raises(ModelError, match="download is damaged"):
        world.fetch()
    assert left(home) == set()


def test_an_interrupt_during_the_conversion_leaves_nothing_and_the_next_call_succeeds(world, home, monkeypatch):
    def interrupted(file, folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(convert, "convert_gguf", interrupted)
        with pytest.raises(KeyboardInterrupt):
            world.fetch()
    assert left(home) == set()
    assert (world.fetch() / "model.safetensors").read_bytes() == b"weights"


def test_a_cached_file_of_another_size_is_named_and_fetched_again(world, home):
    (world.fetch() / "model.safetensors").write_bytes(b"wei")
    folder = world.fetch()
    assert any("damaged (model.safetensors has 3 bytes, not 7); it is made again" in line for line in world.said)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert left(home) == {NAME}


def test_a_changed_file_of_the_same_size_and_times_is_named_and_fetched_again(world):
    file = world.fetch() / "model.safetensors"
    times = file.stat()
    file.write_bytes(b"weighty")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (world.fetch() / "model.safetensors").read_bytes() == b"weights"
    assert any("model.safetensors is not what was written" in line for line in world.said)


def test_a_folder_without_a_manifest_is_not_taken_for_a_model(world):
    (world.fetch() / "manifest.json").unlink()
    world.fetch()
    assert world.downloads == 2


def test_a_hub_that_is_reached_but_never_answers_is_given_up_in_seconds():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"http://127.0.0.1:{silent.getsockname()[1]}"
        code = "from ensemw2s.models.loading import hub; hub.TIMEOUT = 0.3; hub.download('owner/toy', patterns=['*'])"
        settings = os.environ | {
            "HF_ENDPOINT": where,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": os.environ["ENSEMW2S_HOME"],
        }
        done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "LocalEntryNotFoundError" in done.stderr.splitlines()[-1] or "not find" in done.stderr


@pytest.fixture
def encoder_wheel(tiny_encoder, monkeypatch, home):
    """A wheel that holds a tiny encoder beside code; the content of its files by path, which may be changed."""
    files = {f"toy/model/{p.name}": p.read_bytes() for p in tiny_encoder.iterdir() if p.is_file()}
    names = [name for name in files if name.endswith((".json", ".safetensors"))]
    expected = tuple(
        WheelFile(name.removeprefix("toy/"), len(files[name]), sha256(files[name]).hexdigest()) for name in names
    )
    marker = home / "it-ran"
    files |= {"toy/__init__.py": f"open({str(marker)!r}, 'w')".encode(), "toy/model/1_Pooling/config.json": b"{}"}
    toy = KnownModel(hub_id="owner/toy", requirement="toy==1.0", files=expected, licence="Apache-2.0")

    def pip(command, **_settings):
        with zipfile.ZipFile(Path(command[command.index("-d") + 1], "toy-1.0-py3-none-any.whl"), "w") as wheel:
            for name, content in files.items():
                wheel.writestr(name, content)
        return subprocess.CompletedProcess(command, 0, "", "")

    def no_hub(*_args, **_settings):
        raise FileNotFoundError("no route")

    monkeypatch.setitem(KNOWN, NAME, toy)
    monkeypatch.setattr(hub, "download", no_hub)
    monkeypatch.setattr(fetching.subprocess, "run", pip)
    yield files
    assert not marker.exists()


def test_an_encoder_is_taken_out_of_its_wheel_as_it_is_and_both_models_can_be_it(encoder_wheel, task_file, tmp_path):
    folder = fetch(NAME, echo=lambda text: None)
    for file in KNOWN[NAME].files:
        assert (folder / file.name).read_bytes() == encoder_wheel[f"toy/{file.path}"]
    assert {p.name for p in folder.iterdir()} == {file.name for file in KNOWN[NAME].files} | {"manifest.json"}
    assert json.loads((folder / "manifest.json").read_text())["source"] == "from the package toy==1.0"
    backbone = load_backbone(ModelConfig(model=NAME, dtype="float32"))
    assert not backbone.is_causal
    ids = [[5, 6, 7], [8, 9]]
    with torch.no_grad():
        states = [backbone.model(torch.tensor([each])).last_hidden_state[0] for each in ids]
    expected = torch.stack([each.mean(0) for each in states])  # an encoder's feature is the mean over its tokens
    features = pooled_features(backbone, ids, [backbone.n_layers], batch_tokens=64)[backbone.n_layers]
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    sides = {"weak": {"model": NAME, "n_layers": 1}, "strong": {"model": NAME, "n_layers": 2}, "seeds": [0]}
    results = run(parse_config(merged(tiny_tree(task_file), sides)), tmp_path / "run", store_root=tmp_path / "store")
    assert results.strong == f"{NAME}, first 2 layers, a trained head on the mean over tokens"


@pytest.mark.parametrize("file", ["toy/model/config.json", "toy/model/model.safetensors"])
def test_a_changed_file_of_an_encoders_wheel_is_refused_and_leaves_nothing(encoder_wheel, home, file):
    encoder_wheel[file] = encoder_wheel[file][:-1] + b" "
    with pytest.raises(ModelError, match=f"{Path(file).name}: sha256 is .* the file was changed and is not used"):
        fetch(NAME, echo=lambda text: None)
    assert left(home) == set()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ModelError, match="smollm2-135m"):
        fetch("gpt-99")


def test_missing_conversion_packages_are_named_with_the_mend(monkeypatch, tmp_path):
    monkeypatch.setattr(convert.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'ensemw2s\[demo\]'"):
        convert.convert_gguf(tmp_path / "x.gguf", tmp_path)


KILLED = """
import sys, time
from pathlib import Path
from ensemw2s.storage.files import new_folder
from ensemw2s.storage.locks import locked
with locked(Path(sys.argv[1])), new_folder(Path(sys.argv[1])) as temporary:
    (temporary / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(home):
    """A process that has begun to write the model's folder."""
    destination = home / "models" / NAME
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(destination)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def test_a_killed_process_leaves_nothing_that_counts_and_the_next_cleans_up(writer, world, home):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(left(home)) == 1
    assert not (home / "models" / NAME).exists()
    world.fetch()
    assert left(home) == {NAME}


def test_a_second_process_waits_for_the_first(writer, world, home):
    with (home / "models" / f".{NAME}.lock").open("w") as handle, pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_folder_of_a_living_writer_is_left_alone(writer, home):
    destination = home / "models" / NAME
    with new_folder(destination) as temporary:
        (temporary / "whole").write_text("whole")
    assert os.listdir(destination) == ["whole"]
    assert len(left(home)) == 2


def test_a_file_in_the_way_is_refused(home):
    (home / "taken").write_text("mine")
    with pytest.raises(RunError, match="a file stands where a folder"), new_folder(home / "taken"):
        pass
    assert (home / "taken").read_text() == "mine"
