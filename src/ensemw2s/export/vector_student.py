"""A student on vectors of a file: the folder of a head with its scale, which answers ids of another such file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from ensemw2s.config import ModelConfig
from ensemw2s.core.losses import LINKS
from ensemw2s.errors import DataError, ModelError
from ensemw2s.export.exported import AGAIN, answers_of, check_choices, check_finite, check_sealed, seal
from ensemw2s.models.adapting.adapters import load_owned
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.loading.load import device
from ensemw2s.models.pooled import Trunk
from ensemw2s.models.vectors import VectorFile, read_vectors
from ensemw2s.names import FEATURES
from ensemw2s.prompting import Prompting
from ensemw2s.storage.files import new_folder
from ensemw2s.storage.records import Saved, read_record

RECORD, HEAD = "vectors.json", "head.safetensors"


class VectorStudent(Saved):
    """Content of `vectors.json`."""

    format: Literal[1] = 1
    choices: tuple[str, ...]
    depth: Annotated[int, Field(ge=1)]
    """Of the vectors that it reads."""
    size: Annotated[int, Field(ge=1)]
    """Of a vector."""
    head_hidden: Annotated[int, Field(ge=0)]
    link: str


def export_vector_student(
    folder: Path,
    *,
    config: ModelConfig,
    trunk: Trunk,
    state: Mapping[str, Tensor],
    choices: Sequence[str],
    card: str,
    template: str,
    link: str,
) -> None:
    """Write a head with these trained parameters; an older student there is replaced. Raises RunError."""
    about = VectorStudent(
        choices=tuple(choices),
        depth=trunk.n_layers,
        size=trunk.feature_size,
        head_hidden=config.head_hidden,
        link=link,
    )
    with new_folder(folder) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary / HEAD)
        (temporary / RECORD).write_text(about.text(), encoding="utf-8")
        seal(temporary, card, Prompting(template), has_own_code=False)


@dataclass(frozen=True)
class VectorHead:
    """A loaded student, which answers vectors by a class."""

    head: Head
    about: VectorStudent

    def log_probs(self, vectors: Any) -> Float[Tensor, "rows classes"]:
        """Log-probabilities of the classes for each vector (rows of numbers), in float32 on the CPU.

        Raises:
            ValueError: they have another size than those that the student learned.
        """
        rows = torch.as_tensor(vectors)
        if rows.ndim != 2 or rows.shape[1] != self.about.size:
            raise ValueError(f"X has shape {list(rows.shape)}; this student reads rows of {self.about.size} numbers")
        with torch.no_grad():
            logits = self.head.classify(rows.to(self.head.scale.device, self.head.scale.dtype))
        return LINKS[self.about.link].log_probs(logits).cpu()


@dataclass(frozen=True)
class VectorPredictor:
    """A loaded student with the vectors that it reads."""

    student: VectorHead
    vectors: VectorFile

    def unreadable(self, ids: Sequence[str]) -> list[str]:
        """Why each row cannot be answered; empty where it can."""
        return [self.vectors.lacks(each) for each in ids]

    def answers(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """For each id: answer, confidence and the probability of each class. Raises DataError for values of NaN."""
        if not ids:
            return []
        about = self.student.about
        vectors = self.vectors.features(ids, (), [about.depth])[about.depth]
        return answers_of(self.student.log_probs(vectors).exp(), about.choices)


def is_on_vectors(folder: Path) -> bool:
    """Whether a folder is that of a student on vectors."""
    return (folder / RECORD).is_file()


def check_vector_student(folder: Path) -> VectorStudent:
    """The record of a student on vectors, whose files are as they were exported. Raises ModelError."""
    about = read_record(folder / RECORD, VectorStudent, mend=AGAIN)
    check_sealed(folder, (RECORD, HEAD))
    check_choices(folder, about.choices)
    if about.link not in LINKS:
        raise ModelError(f"{folder / RECORD}: link is {about.link!r}, this version reads {', '.join(LINKS)}; {AGAIN}")
    return about


def load_vector_head(folder: Path) -> VectorHead:
    """Load what `export_vector_student` wrote. Raises ModelError where the folder is damaged."""
    about = check_vector_student(folder)
    head = Head(about.size, len(about.choices), about.head_hidden, 0.0, 0.0, Generator())
    try:
        load_owned(head, load_file(folder / HEAD))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder / HEAD}: cannot be read ({error}); {AGAIN}") from None
    check_finite(folder, head)
    return VectorHead(head.to(device()).eval(), about)


def load_vector_student(folder: Path, features: Path | None) -> VectorPredictor:
    """Load what `export_vector_student` wrote, with a file of the vectors that it shall read.

    Raises:
        ModelError: no file is given, it lacks the student's depth, its vectors have another size, or the folder is
            damaged.
    """
    if features is None:
        raise ModelError(f"{folder}: this student reads vectors and no prompts; give a file of them: --features FILE")
    student = load_vector_head(folder)
    vectors = given_vectors(features).cut(student.about.depth)
    if vectors.feature_size != student.about.size:
        raise ModelError(
            f"{vectors.name}: its vectors have {vectors.feature_size} numbers, and the student reads "
            f"{student.about.size}; give vectors of the encoder that it was trained on"
        )
    return VectorPredictor(student, vectors)


def given_vectors(path: Path) -> VectorFile:
    """The file of `--features`. Raises DataError where there is none, ModelError where it is laid out otherwise."""
    if not path.is_file():
        raise DataError(f"--features {path}: there is no such file; check the path")
    return read_vectors(path, f"{FEATURES}{path}")
