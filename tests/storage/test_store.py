"""The store and the lock: whole or not at all, named when damaged."""

import errno
import multiprocessing
import os
import subprocess
import sys

import pytest
import torch

from ensemw2s.errors import ConfigError, RunError
from ensemw2s.storage import files, store
from ensemw2s.storage.files import new_folder, write_atomic
from ensemw2s.storage.locks import run_lock
from ensemw2s.storage.store import Artifact, Store, artifact_key

KEY = "ab" * 32


def artifact(value: float = 1.0) -> Artifact:
    return Artifact({"x": torch.full((5,), value)}, {"note": "ü", "n": 3})


def test_what_was_saved_is_read_back_and_computed_once(tmp_path):
    kept = Store(tmp_path)
    calls = []

    def compute():
        calls.append(1)
        return artifact()

    first, second = (kept.memo("things", KEY, compute) for _ in range(2))
    assert torch.equal(first.tensors["x"], second.tensors["x"])
    assert first.record == second.record == {"note": "ü", "n": 3}
    assert len(calls) == 1
    assert (kept.computed["things"], kept.reused["things"]) == (1, 1)
    assert kept.load("things", "cd" * 32) is None


def test_the_key_changes_with_every_input_and_not_with_their_order():
    key = artifact_key(1, {"a": 1, "b": [2]})
    assert key == artifact_key(1, {"b": [2], "a": 1})
    assert len({key, artifact_key(2, {"a": 1, "b": [2]}), artifact_key(1, {"a": 1, "b": [3]})}) == 3


@pytest.mark.parametrize("name", [store.TENSORS, store.RECORD, store.MANIFEST])
@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "garbage"])
def test_a_damaged_artifact_is_named_and_never_used(tmp_path, name, damage):
    said: list[str] = []
    kept = Store(tmp_path, on_event=said.append)
    kept.save("things", KEY, artifact())
    path = kept.path("things", KEY) / name
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "flip":
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"\xff\x00 not this")
    found = kept.memo("things", KEY, lambda: artifact(2.0))
    assert torch.equal(found.tensors["x"], torch.full((5,), 2.0))
    assert len(said) == 1
    assert str(kept.path("things", KEY)) in said[0]


def test_what_dead_processes_left_is_swept_and_a_live_ones_is_kept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    node = store.platform.node()
    gone, mine, elsewhere = (
        tmp_path / n
        for n in (f".tmp-{dead.pid}-a-{node}", f".tmp-{os.getpid()}-b-{node}", f".tmp-{dead.pid}-c-other-{node}")
    )
    for folder in (gone, mine, elsewhere):
        folder.mkdir()
    Store(tmp_path)
    assert [f.exists() for f in (gone, mine, elsewhere)] == [False, True, True]


def test_of_two_processes_that_save_one_key_at_once_both_end_with_it(tmp_path, monkeypatch):
    processes = multiprocessing.get_context("fork")
    both, rename = processes.Barrier(2, timeout=60), store.Path.rename

    def rename_when_both_have_come_as_far(self, target):
        both.wait()
        return rename(self, target)

    def save():
        found = Store(tmp_path).save("things", KEY, artifact())
        assert torch.equal(found.tensors["x"], artifact().tensors["x"])

    monkeypatch.setattr(store.Path, "rename", rename_when_both_have_come_as_far)
    children = [processes.Process(target=save) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert not list(tmp_path.glob(".tmp-*"))
    assert Store(tmp_path).load("things", KEY).record == artifact().record


@pytest.mark.parametrize(
    ("code", "mend"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "read-only")]
)
def test_a_full_or_read_only_disk_is_one_error_and_leaves_nothing_half_done(tmp_path, monkeypatch, code, mend):
    kept = Store(tmp_path / "store")

    def refuse(tensors, path):
        path.write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(store, "save_file", refuse)
    with pytest.raises(RunError, match=mend):
        kept.save("things", KEY, artifact())
    assert list((tmp_path / "store").rglob("*")) == []
    monkeypatch.setattr(files.os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(code, os.strerror(code))))
    with pytest.raises(RunError, match=mend):
        write_atomic(tmp_path / "out" / "file.json", "text")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_where_the_store_should_be_is_refused(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(RunError, match="file stands where a folder is needed"):
        Store(tmp_path / "store")


def test_the_lock_keeps_others_out_until_its_holder_dies(tmp_path):
    code = (
        "import sys; from pathlib import Path; from ensemw2s.storage.locks import run_lock\n"
        "with run_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"process \\(id {child.pid}\\)"), run_lock(tmp_path):
            pass
        child.kill()
        child.wait()
    with run_lock(tmp_path):
        pass


def test_a_path_that_holds_a_nul_is_refused_by_name(tmp_path):
    for work in (lambda p: Store(p), lambda p: write_atomic(p, "x"), lambda p: new_folder(p).__enter__()):
        with pytest.raises(RunError, match="holds a NUL"):
            work(tmp_path / "a\0b")
    with pytest.raises(ConfigError, match=r"--run-dir: the path .* holds a NUL"), run_lock(tmp_path / "a\0b"):
        pass
