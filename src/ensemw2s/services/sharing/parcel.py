"""What is pushed: the files of one whole folder, as one repository."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ensemw2s.errors import RunError
from ensemw2s.export.ensembles.ensemble_folder import RECORD, TENSORS, read_ensemble_record
from ensemw2s.export.exported import CARD, check_exported
from ensemw2s.export.vector_student import check_vector_student, is_on_vectors
from ensemw2s.pipeline.run_folder import read_results
from ensemw2s.storage import checksums


@dataclass(frozen=True)
class Parcel:
    """Files of a folder, by name."""

    what: str
    """Of which run, in words."""
    folder: Path
    files: tuple[str, ...]
    kind: Literal["model", "dataset"] = "model"
    notes: tuple[str, ...] = ()
    """What whoever pushes must know."""

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {name: (self.folder / name).stat().st_size for name in self.files}


def student_parcel(path: Path) -> Parcel:
    """The student of a finished run, or the folder of one.

    Raises:
        RunError: the run is not finished, or there is no student with checksums.
        ModelError: the folder is not as it was exported.
    """
    folder = _part_of(path, "student")
    if is_on_vectors(folder) and (folder / checksums.FILE).is_file():
        about = check_vector_student(folder)
        note = (
            f"it reads vectors of {about.size} numbers: say in {CARD} which encoder made them, for with those of "
            "another its answers mean nothing"
        )
        return Parcel(f"the student of {path}", folder, _listed(folder), notes=(note,))
    if not (folder / "config.json").is_file() or not (folder / checksums.FILE).is_file():
        raise RunError(
            f"{path}: no student there (config.json or {checksums.FILE} is missing); name a finished run, or the "
            "folder of a student"
        )
    check_exported(folder)
    return Parcel(f"the student of {path}", folder, _listed(folder))


def ensemble_parcel(path: Path) -> Parcel:
    """The ensemble of a finished run, or the folder of one.

    Raises:
        RunError: the run is not finished, there is no ensemble, or it is damaged.
        ModelError: its record is wrong.
    """
    folder = _part_of(path, "ensemble")
    record = read_ensemble_record(folder)
    if fault := checksums.folder_fault(folder, required=(RECORD, TENSORS)):
        raise RunError(
            f"{folder}: the saved ensemble is damaged ({fault}); run its experiment again, which exports it anew"
        )
    names = dict.fromkeys(config.model for config in (record.weak, *(each.config for each in record.others)))
    notes = tuple(
        f"its experts read the model in the folder {name}: the path is in {RECORD}, and whoever loads it needs that "
        "model in the same place; push it, too, and name it by its hub id in the run"
        for name in names
        if Path(name).is_dir()
    )
    return Parcel(f"the ensemble of {path}", folder, _listed(folder), notes=notes)


def _part_of(path: Path, part: str) -> Path:
    """The part of a run, which must be finished; the folder itself where it is no run."""
    if not path.is_dir():
        raise RunError(f"{path}: there is no such folder; name a finished run, or the folder of its {part}")
    if not (path / "config.yaml").is_file():
        return path
    read_results(path)
    return path / part


def _listed(folder: Path) -> tuple[str, ...]:
    """What was exported, and nothing that lies beside it."""
    names = (*(checksums.listed(folder) or {}), checksums.FILE)
    return tuple(sorted((*names, CARD) if (folder / CARD).is_file() else names))
