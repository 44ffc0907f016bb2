"""A student as a folder: what a run exports, and beside it what the estimator needs to be itself again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ensemw2s.config import ModelConfig, Recipe
from ensemw2s.core.losses import LINKS
from ensemw2s.errors import ConfigError
from ensemw2s.estimators.text_model import TextFitted
from ensemw2s.export.card import card, metadata
from ensemw2s.export.classifier import Predictor, export_student, load_student
from ensemw2s.export.ensembles.ensemble_record import untrusting
from ensemw2s.export.place import exported_folder
from ensemw2s.export.vector_student import VectorHead, is_on_vectors, load_vector_head
from ensemw2s.storage.records import Saved, read_record
from ensemw2s.text import markdown

FILE = "estimator.json"


class StudentRecord(Saved):
    """`estimator.json`."""

    format: Literal[1] = 1
    strong: ModelConfig
    recipe: Recipe
    classes: tuple[bool | int | float | str, ...]


@dataclass(frozen=True)
class LoadedStudent:
    """A student from a folder."""

    predictor: Predictor | VectorHead
    strong: ModelConfig | VectorHead
    """As the estimator's parameter: a student on vectors stands for itself, because its encoder is not here."""
    recipe: Recipe
    classes: np.ndarray


def save_folder(folder: Path, fitted: Any, classes: np.ndarray, recipe: Recipe) -> Path:
    """Write the student of a pretrained model.

    Raises:
        ConfigError: it is no pretrained model, or was itself loaded from a folder.
        ModelError: the folder cannot be written.
    """
    if isinstance(fitted, Predictor | VectorHead):
        raise ConfigError("save: this student was loaded from a folder; copy that folder")
    if not isinstance(fitted, TextFitted):
        raise ConfigError(
            f"save: only a student that is a pretrained model has a folder, and this one is a {type(fitted).__name__}; "
            "keep a classifier of scikit-learn by joblib or skops"
        )
    config = fitted.model.config
    record = StudentRecord(
        strong=untrusting(config),
        recipe=recipe,
        classes=tuple(classes.tolist()),
    )
    choices = [str(label) for label in classes.tolist()]

    base = Path(config.model).name if Path(config.model).is_absolute() else config.model

    def described(by_library: bool) -> str:
        lines = (
            f"- Base: {markdown(base)}. Recipe: {markdown(recipe.name)}.",
            f"- Answers: {markdown(', '.join(choices))}.",
            f"- The model gives logits; its probabilities are {LINKS[fitted.link].formula}. They were not calibrated.",
            "- Load it with `ensemw2s.Student.load`.",
        )
        licences = "The base model's and the data's own licences apply."
        data = metadata([config.model], is_generation=False, by_library=by_library)
        about = "Trained by EnsemW2S on the labels of weak models."
        return card(data, "Student of weak labels", {"": [about, "\n".join(lines), licences]})

    export_student(
        folder,
        config=config,
        backbone=fitted.model.backbone,
        state=fitted.state(),
        choices=choices,
        card=described,
        link=fitted.link,
        beside={FILE: record.text()},
    )
    return folder


def load_folder(place: str | Path, *, trusted: str | None = None) -> LoadedStudent:
    """Read what `save_folder` or a run wrote, here or on the hub; the classes of a run's student are texts.

    Raises:
        ModelError: the folder is no student, or is damaged; or the hub does not give it.
    """
    folder, trusted = exported_folder(place, trusted)
    if is_on_vectors(folder):
        student = load_vector_head(folder)
        return LoadedStudent(student, student, Recipe(), np.asarray(student.about.choices))
    predictor = load_student(folder, trusted=trusted)
    if not (folder / FILE).exists():
        return LoadedStudent(predictor, ModelConfig(model=str(folder)), Recipe(), np.asarray(predictor.choices))
    record = read_record(folder / FILE, StudentRecord, mend="save the student again")
    return LoadedStudent(predictor, record.strong, record.recipe, np.asarray(record.classes))
