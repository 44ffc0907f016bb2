"""What a disk, a broken copy or a careless hand does to a file: the damages that every stored file must stand."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flipped(path: Path) -> None:
    """One bit in the middle; size and times stay as they were, so that nothing but the content can tell."""
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def doubled(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def deleted(path: Path) -> None:
    path.unlink()


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("something")


def dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere" / path.name)


DAMAGES: dict[str, Callable[[Path], None]] = {
    damage.__name__: damage for damage in (cut, flipped, emptied, doubled, deleted, folder_in_its_place, dangling_link)
}


def files_of(folder: Path) -> list[Path]:
    """Every file below a folder, in a fixed order, but the empty ones (locks): there is nothing in them to damage."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


def fresh_copy(folder: Path, destination: Path) -> Path:
    """A copy to damage, with the times of the original; an older copy gives way."""
    shutil.rmtree(destination, ignore_errors=True)
    return Path(shutil.copytree(folder, destination, symlinks=True))
