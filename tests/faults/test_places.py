"""Places that refuse: no locks, no room, no UTF-8, a folder for a file, a folder that is gone. One paragraph each."""

import errno
import fcntl
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from ensemw2s.errors import ConfigError, ModelError, RunError
from ensemw2s.models.loading.tiny import make_tiny
from ensemw2s.pipeline import run_folder
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import EVENTS, SEALED, check_folder, write, write_manifest
from ensemw2s.pipeline.run_log import Journal
from ensemw2s.storage import files
from ensemw2s.storage.caches import cached_folder
from ensemw2s.storage.files import new_folder, write_atomic
from ensemw2s.storage.locks import locked, run_lock


def refusing(code: int, times: int = 10**9):
    """A `flock` of a file system that says this, so many times."""
    plain, left = fcntl.flock, [times]

    def flock(fd: int, operation: int) -> None:
        if operation != fcntl.LOCK_UN and left[0] > 0:
            left[0] -= 1
            raise OSError(code, os.strerror(code))
        plain(fd, operation)

    return flock


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINTR, errno.EIO])
@pytest.mark.parametrize("lock", [run_lock, locked])
def test_a_file_system_without_locks_is_one_paragraph_with_its_mend(tmp_path, monkeypatch, code, lock):
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    with pytest.raises(RunError) as caught, lock(tmp_path / "place"):
        pytest.fail("nobody holds a lock here")
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path) in message
    assert any(mend in message for mend in ("--run-dir", "ENSEMW2S_HOME", "check the disk"))
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and not p.name.endswith(".lock")]


@pytest.mark.parametrize("lock", [run_lock, locked])
def test_an_attempt_to_lock_that_is_interrupted_is_made_again(tmp_path, monkeypatch, lock):
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EINTR, times=3))
    with lock(tmp_path / "place"):
        pass


def test_a_lock_that_is_a_folder_or_a_link_to_nothing_is_refused(tmp_path):
    (tmp_path / "a" / ".lock").mkdir(parents=True)
    with pytest.raises(RunError, match="a folder stands where a file is needed"), run_lock(tmp_path / "a"):
        pass
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".lock").symlink_to(tmp_path / "nowhere" / "file")
    with pytest.raises(RunError, match="a link stands where"), run_lock(tmp_path / "b"):
        pass


def test_a_path_that_is_no_utf_8_is_refused_where_it_enters(tmp_path, monkeypatch):
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xffn"))
    with pytest.raises(ConfigError, match=r"--run-dir: the path .*r\\xffn is not UTF-8"), run_lock(strange):
        pass
    monkeypatch.setenv("ENSEMW2S_HOME", str(strange))
    with pytest.raises(ConfigError, match="ENSEMW2S_HOME: the path"):
        files.cache_home()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only for this user"),
    ],
)
def test_a_disk_that_refuses_within_a_new_folder_is_one_paragraph_and_leaves_the_old_one(tmp_path, error, mend):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")

    def write_half() -> None:
        with new_folder(tmp_path / "model") as temporary:
            (temporary / "half").write_text("half")
            raise error

    with pytest.raises(RunError, match=mend):
        write_half()
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_while_the_tiny_model_is_written_is_one_paragraph(tmp_path, monkeypatch):
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="the disk is full"):
        make_tiny(tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_what_stands_in_the_way_of_a_run_is_refused_before_any_work(tmp_path, tiny_config):
    config = tiny_config()
    for name in (*SEALED, EVENTS):
        folder = tmp_path / name.replace(".", "-")
        (folder / name).mkdir(parents=True)
        with pytest.raises(RunError, match=f"{name}: cannot be written .* a folder stands where a file is needed"):
            run(config, folder, store_root=tmp_path / "store")
    for name in run_folder.FOLDERS:
        folder = tmp_path / f"run-{name}"
        folder.mkdir()
        (folder / name).write_text("")
        with pytest.raises(RunError, match=f"{name}: cannot be written .* a file stands where a folder is needed"):
            run(config, folder, store_root=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_run_folder_that_vanishes_is_one_paragraph_and_is_not_made_anew(tmp_path, tiny_config):
    gone = tmp_path / "gone"
    gone.mkdir()
    journal = Journal(gone)
    gone.rmdir()
    for act in (
        lambda: journal.event("started"),
        lambda: write(gone, "results.json", "{}"),
        lambda: write_manifest(gone, "experts", tiny_config(), []),
    ):
        with pytest.raises(RunError, match="the folder vanished meanwhile; run the same command again"):
            act()
    assert not gone.exists()


def test_a_link_to_nothing_gives_way_to_what_is_written(tmp_path):
    for name in ("file", "folder"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere" / name)
    write_atomic(tmp_path / "file", "text")
    with new_folder(tmp_path / "folder") as temporary:
        (temporary / "a").write_text("a")
    assert (tmp_path / "file").read_text() == "text"
    assert (tmp_path / "folder" / "a").read_text() == "a"
    check_log = tmp_path / EVENTS
    check_log.symlink_to(tmp_path / "nowhere" / EVENTS)
    Journal(tmp_path).event("first")
    assert '"first"' in check_log.read_text()


def test_the_configuration_that_was_mended_runs_in_the_folder_of_the_one_that_failed(tmp_path, tiny_config):
    small = {"seeds": [0], "ensemble": {"methods": ["single"]}, "students": {"recipes": [{}]}}
    wrong = tiny_config(**small, weak={"n_layers": 9})
    with pytest.raises(ModelError, match="n_layers is 9"):
        run(wrong, tmp_path / "run", store_root=tmp_path / "store")
    check_folder(tiny_config(**small), tmp_path / "run")  # nobody's yet
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_cached_folder_is_checked_at_every_use(tmp_path):
    said: list[str] = []

    def make(folder: Path) -> None:
        (folder / "data").write_text("data")

    for _ in range(2):
        cached_folder(tmp_path / "kept", make, echo=said.append)
    assert said == []
    (tmp_path / "kept" / "data").write_text("dato")
    cached_folder(tmp_path / "kept", make, echo=said.append)
    assert (tmp_path / "kept" / "data").read_text() == "data"
    assert len(said) == 1
    assert "data is not what was written" in said[0]
