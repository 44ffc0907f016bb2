"""Files that every exported student has beside the library's own: the prompting, the model card and checksums."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from ensemw2s import prompting
from ensemw2s.config.model import Pooling
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.contents import check_contents
from ensemw2s.prompting import Prompting
from ensemw2s.storage import checksums
from ensemw2s.storage.records import Saved

CARD = "README.md"
AGAIN = "run the same `ensemw2s run` again, which exports it anew"
READ = (".json", ".safetensors", ".jinja", ".model", ".txt", ".py", ".bin", ".pt")
"""Suffixes of files that a library may load."""


class Package(Saved):
    """Content of `ensemw2s.json`: the head of a student that the library has no class for."""

    format: Literal[1] = 1
    choices: tuple[str, ...]
    head_hidden: int
    pooling: Pooling | Literal["auto"] | None = None
    n_layers: int | None = None
    """Depth of its features, of a student on pictures."""


def seal(folder: Path, card: str, asked: Prompting, *, has_own_code: bool) -> None:
    """Finish an export: write its card, its prompting, and the checksums of everything but the card.

    Args:
        folder: folder that the library has saved the model to.
        card: text of README.md.
        asked: prompting that the student was trained with.
        has_own_code: whether the model's own code ran. If not, the student is of a class of the library, and loading it
            must not ask for the code that the checkpoint named.
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
    check_sealed(folder, ("config.json", prompting.FILE))


def check_sealed(folder: Path, required: Sequence[str]) -> None:
    """Refuse a student whose files are not those of its checksums.

    Args:
        required: files that it must have.

    Raises:
        ModelError: a file is missing, changed or added.
    """
    if fault := checksums.folder_fault(folder, required=tuple(required)) or _added(folder):
        raise ModelError(f"{folder}: not the student that was exported: {fault}; {AGAIN}")


def answers_of(probabilities: Float[Tensor, "examples classes"], choices: Sequence[str]) -> list[dict[str, Any]]:
    """Of each example: answer, confidence and the probability of each class."""
    return [
        {
            "answer": choices[int(q.argmax())],
            "confidence": float(q.max()),
            "probability": dict(zip(choices, q.tolist(), strict=True)),
        }
        for q in probabilities
    ]


def check_finite(folder: Path, module: nn.Module) -> None:
    """Check the weights of a student.

    Raises:
        ModelError: a weight is NaN or infinite.
    """
    for name, parameter in module.named_parameters():
        if not parameter.isfinite().all():
            raise ModelError(f"{folder}: its tensor {name} has values that are NaN or infinite; {AGAIN}")


def check_choices(folder: Path, choices: tuple[str, ...]) -> None:
    """Check the classes of a student.

    Raises:
        ModelError: there are fewer than two, or two have one name.
    """
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise ModelError(f"{folder}: its choices are {list(choices)!r}, not two or more distinct ones; {AGAIN}")


def _added(folder: Path) -> str | None:
    """Fault of a file that was added after the export; None where there is none."""
    listed = checksums.listed(folder) or {}
    for path in sorted(folder.iterdir()):
        if path.suffix in READ and path.name not in listed and path.name != checksums.FILE:
            return f"{path.name} was added (move it out of the folder)"
    return None
