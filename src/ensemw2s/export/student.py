"""An exported student that answers prompts, by a class or by generation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemw2s.data.answer_table import answer_row
from ensemw2s.data.templates.prompts import Prompted
from ensemw2s.data.templates.template import template
from ensemw2s.errors import DataError, ModelError
from ensemw2s.export.answerer import ABOUT
from ensemw2s.export.classifier import Predictor, load_student
from ensemw2s.export.ensembles.generator import Generator, student_generator
from ensemw2s.export.pictures import PicturePredictor, is_on_pictures, load_picture_student
from ensemw2s.export.vector_student import VectorPredictor, is_on_vectors, load_vector_student
from ensemw2s.prompting import FILE, Prompting


def answer_rows(
    folder: Path,
    rows: Sequence[Prompted],
    *,
    id_column: str | None = None,
    wanted: Sequence[str] | None = None,
    trusted: str | None = None,
    features: Path | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """A row of the table of answers for each row, in order, and why some have no answer.

    Args:
        wanted: columns of the table (`data.answer_table`); None takes the input's, the id and what was answered.
        features: file of the vectors that the student reads, by the rows' ids, where it reads no prompts.

    Raises:
        ModelError: the folder is no exported student, or is damaged.
        DataError: no row has a prompt.
    """
    by_id = is_on_vectors(folder)
    asked = [str(row.id) if by_id else row.prompt for row in rows if row.prompt is not None]
    if not asked:
        raise DataError(f"{rows[0].place}: {rows[0].problem} (no row of the {len(rows):,} has a prompt)")
    answers = answer_prompts(folder, asked, trusted=trusted, features=features)
    table, errors = list[dict[str, Any]](), list[str]()
    for row in rows:
        said = _failed(None, f"{row.place}: {row.problem}") if row.prompt is None else next(answers)
        said |= {"filled_prompt": row.prompt}
        errors += [error] if (error := said.get("error", "")) else []
        table.append(answer_row(row.id, row.columns, said, id_column=id_column, wanted=wanted, error=error))
    return table, errors


def saved_prompting(folder: Path) -> Prompting:
    """Prompting that the student was trained with. Raises ModelError where the folder's template cannot be used."""
    prompting = Prompting.load(folder)
    check_template(prompting.template, folder / FILE)
    return prompting


def check_template(prompt: str, place: Path) -> None:
    """Check the prompt template of a folder.

    Raises:
        ModelError: it is malformed.
    """
    try:
        template(prompt)
    except DataError as error:
        raise ModelError(f"{place}: {error}; or give a template of your own (--prompt)") from None


def answer_prompts(
    folder: Path, prompts: Sequence[str], *, trusted: str | None = None, features: Path | None = None
) -> Iterator[dict[str, Any]]:
    """A record for each prompt, in order: the answer, its confidence and, of a class, the probability of each.

    Where the student cannot read a prompt, the answer is None and `error` says why.

    Args:
        folder: folder of the student.
        prompts: text of each prompt; ids, where the student reads vectors.
        trusted: repository whose own code may run (`export.classifier.load_student`).
        features: file of these vectors.

    Raises:
        ModelError: the folder is no exported student, or is damaged.
    """
    student = _opened(folder, trusted, features)
    reasons = student.unreadable(prompts)
    answers = iter(student.answers([p for p, reason in zip(prompts, reasons, strict=True) if not reason]))
    for prompt, reason in zip(prompts, reasons, strict=True):
        yield _failed(prompt, reason) if reason else next(answers)


def _opened(
    folder: Path, trusted: str | None, features: Path | None
) -> "_Classifier | _Generator | _OnPictures | _OnVectors":
    if is_on_vectors(folder):
        return _OnVectors(load_vector_student(folder, features))
    if features is not None:
        raise ModelError(f"{folder}: this student reads prompts and no vectors; leave --features out")
    if (folder / ABOUT).exists():
        return _Generator(student_generator(folder, trusted=trusted))
    if is_on_pictures(folder):
        return _OnPictures(load_picture_student(folder, trusted=trusted))
    return _Classifier(load_student(folder, trusted=trusted))


def _failed(prompt: str | None, reason: str) -> dict[str, Any]:
    return {"prompt": prompt, "answer": None, "error": reason}


def _unreadable(prompts: Sequence[Sequence[int]], longest: int, n_embeddings: int) -> list[str]:
    """Why each prompt, as token ids, cannot be read; empty where it can."""
    return [_fault(ids, longest, n_embeddings) for ids in prompts]


def _fault(ids: Sequence[int], longest: int, n_embeddings: int) -> str:
    if not 0 < len(ids) <= longest:
        return f"its prompt has {len(ids):,} tokens, and the student reads 1 to {longest:,}; shorten it or drop the row"
    if (largest := max(ids)) >= n_embeddings:
        return (
            f"its prompt has the token number {largest:,}, and the student has embeddings of 0 to {n_embeddings - 1:,} "
            "alone; take that text out of the prompt or drop the row"
        )
    return ""


@dataclass(frozen=True)
class _Classifier:
    """A student that answers by a class."""

    predictor: Predictor

    def unreadable(self, prompts: Sequence[str]) -> list[str]:
        predictor = self.predictor
        return _unreadable(predictor.encode(prompts), predictor.longest, predictor.backbone.n_tokens)

    def answers(self, prompts: Sequence[str]) -> Iterator[dict[str, Any]]:
        for prompt, answer in zip(prompts, self.predictor.answers(prompts), strict=True):
            yield {"prompt": prompt, **answer}


@dataclass(frozen=True)
class _OnPictures:
    """A student that answers by a class, of prompts that hold pictures."""

    predictor: PicturePredictor

    def unreadable(self, prompts: Sequence[str]) -> list[str]:
        return [reason for _, reason in self.predictor.reader.sizes(prompts)]

    def answers(self, prompts: Sequence[str]) -> Iterator[dict[str, Any]]:
        for prompt, answer in zip(prompts, self.predictor.answers(prompts), strict=True):
            yield {"prompt": prompt, **answer}


@dataclass(frozen=True)
class _Generator:
    """A student that answers by generation."""

    generator: Generator

    def unreadable(self, prompts: Sequence[str]) -> list[str]:
        longest = self.generator.longest - self.generator.decoding.max_new_tokens
        return _unreadable(self.generator.encode(prompts), longest, self.generator.n_tokens)

    def answers(self, prompts: Sequence[str]) -> Iterator[dict[str, Any]]:
        ids = self.generator.encode(prompts)
        for prompt, answer in zip(prompts, self.generator.write(ids, self.generator.decoding, prompts), strict=True):
            yield {"prompt": prompt, "answer": answer.text.strip(), "confidence": answer.confidence}


@dataclass(frozen=True)
class _OnVectors:
    """A student that answers ids by a class."""

    predictor: VectorPredictor

    def unreadable(self, ids: Sequence[str]) -> list[str]:
        return self.predictor.unreadable(ids)

    def answers(self, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        yield from self.predictor.answers(ids)
