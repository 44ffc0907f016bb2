"""What every exported student has beside the library's own files: how it was asked, and checksums of what decides."""

import json
from pathlib import Path
from typing import Literal

from torch import nn

from ensemw2s import prompting
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.contents import check_contents
from ensemw2s.prompting import Prompting
from ensemw2s.storage import checksums
from ensemw2s.storage.records import Saved

CARD = "README.md"
AGAIN = "run the same `ensemw2s run` again, which exports it anew"
READ = (".json", ".safetensors", ".jinja", ".model", ".txt", ".py", ".bin", ".pt")
"""Kinds of files that decide what a library loads."""


class Package(Saved):
    """`ensemw2s.json`: the head of a student that is no classifier of the library's."""

    format: Literal[1] = 1
    choices: tuple[str, ...]
    head_hidden: int


def seal(folder: Path, card: str, asked: Prompting, *, has_own_code: bool) -> None:
    """Finish an export: write its card, its prompting, and the checksums of everything but the card.

    Args:
        folder: what the library has saved.
        card: its README.md.
        asked: how it was asked in training.
        has_own_code: whether the model's own code ran. If not, the student is of the library's class, and whoever loads
            it must not be asked to run the code that the checkpoint named.
    """
    if not has_own_code:
        for path in (folder / "config.json", folder / "tokenizer_config.json"):
            settings = json.loads(path.read_bytes()) if path.is_file() else {}
            if settings.pop("auto_map", None) is not None:
                path.write_text(json.dumps(settings, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    asked.save(folder)
    (folder / checksums.FILE).write_text(checksums.checksums_of(folder), encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")


def check_exported(folder: Path) -> None:
    """Refuse a student that is not as it was exported. Costs one read of its files.

    A folder with neither prompting nor checksums was written by the library alone and has nothing to compare with.

    Raises:
        ModelError: a file is missing, changed or added, or leads out of the folder.
    """
    check_contents(str(folder), folder)
    if not any((folder / name).exists() or (folder / name).is_symlink() for name in (checksums.FILE, prompting.FILE)):
        return
    fault = checksums.folder_fault(folder, required=("config.json", prompting.FILE)) or _added(folder)
    if fault:
        raise ModelError(f"{folder}: not the student that was exported: {fault}; {AGAIN}")


def check_finite(folder: Path, module: nn.Module) -> None:
    """Raises ModelError where a weight is NaN or infinite: its answers would mean nothing."""
    for name, parameter in module.named_parameters():
        if not parameter.isfinite().all():
            raise ModelError(f"{folder}: its tensor {name} has values that are NaN or infinite; {AGAIN}")


def check_choices(folder: Path, choices: tuple[str, ...]) -> None:
    """Raises ModelError where they are no classes: fewer than two, or two of one name."""
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise ModelError(f"{folder}: its choices are {list(choices)!r}, not two or more distinct ones; {AGAIN}")


def _added(folder: Path) -> str | None:
    listed = checksums.listed(folder) or {}
    for path in sorted(folder.iterdir()):
        if path.suffix in READ and path.name not in listed and path.name != checksums.FILE:
            return f"{path.name} was added (move it out of the folder)"
    return None
