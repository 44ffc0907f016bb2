"""What answers in a run folder, its student and its ensemble, opened for whatever asks them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError, RunError
from ensemw2s.export.answerer import ABOUT
from ensemw2s.export.classifier import Predictor, load_student
from ensemw2s.export.ensembles.class_labeller import ClassLabeller
from ensemw2s.export.ensembles.ensemble_folder import RECORD, ensemble_folder, read_ensemble_record
from ensemw2s.export.ensembles.ensemble_record import AnswerEnsemble
from ensemw2s.export.ensembles.generator import Generator, student_generator
from ensemw2s.export.ensembles.labeller import GenerationLabeller, open_labeller
from ensemw2s.export.ensembles.prompt_reader import unreadable
from ensemw2s.export.pictures import is_on_pictures
from ensemw2s.export.place import exported_folder
from ensemw2s.export.student import saved_prompting
from ensemw2s.export.vector_student import is_on_vectors
from ensemw2s.models.pictures.kind import kind_of
from ensemw2s.prompting import Prompting

STUDENT, ENSEMBLE = "student", "ensemble"


@runtime_checkable
class Classifier(Protocol):
    """Answers prompts by a class."""

    @property
    def choices(self) -> tuple[str, ...]: ...

    @property
    def prompting(self) -> Prompting: ...

    def sizes(self, prompts: Sequence[str]) -> list[tuple[int, str]]:
        """Number of tokens of each prompt, and why it cannot be read; empty where it can."""
        ...

    def label(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """For each prompt: answer, probability of each class, confidence, agreement and each member's answer."""
        ...


@dataclass(frozen=True)
class StudentClassifier:
    """A student that answers by a class: one member that agrees with itself."""

    predictor: Predictor
    prompting: Prompting

    @property
    def choices(self) -> tuple[str, ...]:
        return self.predictor.choices

    def sizes(self, prompts: Sequence[str]) -> list[tuple[int, str]]:
        """As `Classifier.sizes`."""
        longest, n_tokens = self.predictor.longest, self.predictor.backbone.n_tokens
        return [(len(ids), unreadable(ids, longest, n_tokens)) for ids in self.predictor.encode(prompts)]

    def label(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """As `Classifier.label`."""
        answers = self.predictor.answers(prompts)
        return [{**answer, "agreement": 1.0, "members": [answer["answer"]]} for answer in answers]


@dataclass(frozen=True)
class EnsembleClassifier:
    """An ensemble that answers by a class."""

    labeller: ClassLabeller

    @property
    def choices(self) -> tuple[str, ...]:
        return self.labeller.record.choices

    @property
    def prompting(self) -> Prompting:
        return Prompting(self.labeller.record.prompt, self.labeller.record.weak.chat)

    def sizes(self, prompts: Sequence[str]) -> list[tuple[int, str]]:
        """As `Classifier.sizes`."""
        return self.labeller.sizes(prompts)

    def label(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """As `Classifier.label`."""
        return self.labeller.label(prompts)


def open_answerers(path: str | Path, *, trusted: str | None = None) -> dict[str, Generator | Classifier]:
    """Open what answers in a folder: a run, or the folder of one student or ensemble.

    Args:
        path: the folder, or OWNER/NAME on the hub (`export.place`).
        trusted: repository whose own code may run (`ensemble_folder.read_ensemble`).

    Returns:
        `student`, `ensemble` or both, by these names. A pool's experts vote on whole answers, which cannot be given
        token by token: of a run with such an ensemble there is the student alone.

    Raises:
        RunError: there is neither, or the ensemble is damaged.
        ModelError: the student or the ensemble's record is damaged, or its model is another; or the hub does not
            give it.
        ConfigError: `trusted` is none of the models.
    """
    place, trusted = exported_folder(path, trusted)
    folders = _folders(place)
    if len(folders) > 1 and _is_pool_in_words(folders[ENSEMBLE]):
        del folders[ENSEMBLE]
    opened = {STUDENT: _open_student, ENSEMBLE: _open_ensemble}
    return {name: opened[name](folder, trusted) for name, folder in folders.items()}


def open_generator(path: str | Path, *, trusted: str | None = None) -> Generator:
    """Open what generates in a folder; of a run that has both, the student.

    Raises:
        RunError, ConfigError: as `open_answerers`.
        ModelError: as `open_answerers`, or it answers by a class.
    """
    place, trusted = exported_folder(path, trusted)
    name, folder = next(iter(_folders(place).items()))
    answerer = _open_student(folder, trusted) if name == STUDENT else _open_ensemble(folder, trusted)
    if not isinstance(answerer, Generator):
        raise ModelError(
            f"{folder}: this {name} answers by a class ({', '.join(answerer.choices)}) and writes nothing; name one "
            "that was trained with answer_form: free"
        )
    return answerer


def _folders(path: Path) -> dict[str, Path]:
    """The folder of the student and of the ensemble, where they are."""
    student = path / STUDENT if (path / STUDENT).is_dir() else path
    folders = {STUDENT: student} if (student / "config.json").is_file() else {}
    if (ensemble_folder(path) / RECORD).is_file():
        folders[ENSEMBLE] = ensemble_folder(path)
    if not folders and is_on_vectors(student):
        raise ModelError(
            f"{student}: this student reads vectors and no prompts, so nothing can be asked of it in words; answer the "
            "rows of a file: ensemw2s predict --features FILE"
        )
    if not folders:
        raise RunError(
            f"{path}: neither a student nor an ensemble is there; name the folder of a finished run, or its `student` "
            "or `ensemble`"
        )
    return folders


def _open_student(folder: Path, trusted: str | None) -> Generator | StudentClassifier:
    prompting = saved_prompting(folder)
    if is_on_pictures(folder):
        raise ModelError(
            f"{folder}: a student on pictures answers files of this machine alone, which are not opened for requests; "
            "use: ensemw2s predict"
        )
    if (folder / ABOUT).exists():
        return student_generator(folder, trusted=trusted)
    return StudentClassifier(load_student(folder, trusted=trusted), prompting)


def _open_ensemble(folder: Path, trusted: str | None) -> Generator | EnsembleClassifier:
    if _is_pool_in_words(folder):
        raise ModelError(
            f"{folder}: the experts of this pool vote on whole answers, which are not written token by token; name the "
            "student, or let the pool answer a file: ensemw2s label"
        )
    record = read_ensemble_record(folder)
    if any(_reads_pictures(config) for config in (record.weak, *(each.config for each in record.others))):
        raise ModelError(
            f"{folder}: an ensemble on pictures answers files of this machine alone, which are not opened for "
            "requests; use: ensemw2s label"
        )
    labeller = open_labeller(folder, trusted=trusted)
    if isinstance(labeller, ClassLabeller):
        return EnsembleClassifier(labeller)
    return _generator(labeller)


def _reads_pictures(config: ModelConfig) -> bool:
    return not (config.is_tfidf or config.is_features) and kind_of(config) != "text"


def _is_pool_in_words(folder: Path) -> bool:
    record = read_ensemble_record(folder)
    return isinstance(record, AnswerEnsemble) and record.models is not None


def _generator(labeller: GenerationLabeller) -> Generator:
    (reader,), (members,), record = labeller.readers, labeller.members, labeller.record
    return Generator(
        members,
        labeller.expert_weights,
        record.vote,
        reader.tokenizer,
        record.decoding,
        reader.max_length + record.decoding.max_new_tokens,
        reader.n_tokens,
        Prompting(record.prompt, reader.chat),
    )
