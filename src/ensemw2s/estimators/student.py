"""A strong model that learns from weak labels, as an estimator of scikit-learn's kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ensemw2s.config import Recipe, TrainConfig
from ensemw2s.core import sampling
from ensemw2s.core.calibration import apply_temperature, fit_temperature
from ensemw2s.core.labels import Labelled, Votes
from ensemw2s.core.losses import CrossEntropy, WeakToStrongLoss
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.core.selection import Evidence
from ensemw2s.ensemble.learner import Fitted, Learner, StudentLearner, take
from ensemw2s.errors import ConfigError
from ensemw2s.estimators.base import Classifier, as_learner, probabilities
from ensemw2s.estimators.student_folder import load_folder, save_folder
from ensemw2s.estimators.student_labels import joined, read_labels
from ensemw2s.estimators.text_model import TextLearner
from ensemw2s.train.loop import Supervision
from ensemw2s.train.supervision import StudentData, learned_labels, true_labels


class Student(Classifier):
    """A strong model that is trained on the labels of weak ones.

    Parameters
    ----------
    strong : str, ModelConfig, classifier of scikit-learn, or Learner
        What is trained. A name or a ModelConfig is a pretrained model that reads texts, with a trained head.
    recipe : str, Recipe or mapping
        How it is trained: the name of a loss, or the loss, the label model, the selection and the other settings of
        a `Recipe`. Classifiers of scikit-learn are trained with the loss `xent`.
    training : TrainConfig or None
        How a pretrained model is trained.
    validation_fraction : float
        Share of each class of the easy examples that selections may trust, because the strong model whose opinion
        they ask did not learn them.
    random_state : int, RandomState or None
        Of the trainings.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    fitted_ : Fitted
        The trained model.
    labels_ : Labelled
        The distribution of each example that the student learned from, and which of them it learned.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from ensemw2s import Student, WeakEnsemble
    >>> X, y = make_classification(300, random_state=0)
    >>> ensemble = WeakEnsemble(DecisionTreeClassifier(max_depth=1), n_rounds=5, random_state=0).fit(X[:100], y[:100])
    >>> student = Student(LogisticRegression()).fit(X[100:], ensemble.label(X[100:]), easy=(X[:100], y[:100]))
    >>> student.predict_proba(X[:3]).shape
    (3, 2)
    """

    def __init__(
        self,
        strong: Any,
        recipe: str | Recipe | Mapping[str, Any] = "xent",
        *,
        training: TrainConfig | None = None,
        validation_fraction: float = 0.2,
        random_state: Any = None,
    ):
        self.strong = strong
        self.recipe = recipe
        self.training = training
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _models(self) -> list[Any]:
        return [self.strong]

    def fit(self, X: Any, y: Any, *, easy: tuple[Any, Any] | None = None) -> "Student":
        """Train the strong model on labels of X.

        Parameters
        ----------
        X : sequence of texts, or array of shape (n_samples, n_features)
        y : Votes, array of shape (n_samples, n_classes), or array of shape (n_samples,)
            What an ensemble says (`WeakEnsemble.label`), probabilities, or one label for each row.
        easy : pair of rows and labels, or None
            Truly labelled examples. They are trained on where the recipe says `with_easy`, and selections that ask
            the strong model's own opinion learn it from them.

        Raises
        ------
        ValueError
            X, y or easy are malformed, the recipe is unknown, or it needs easy examples and has none.
        ConfigError
            The classifier cannot be trained with the recipe.
        """
        recipe, seed = as_recipe(self.recipe), self._seed()
        X = self._checked_rows(X, is_fit=True)
        easy_X, easy_y = (None, None) if easy is None else easy
        votes, self.classes_, easy_labels = read_labels(X, y, easy_y)
        if easy is not None:
            X = joined(X, self._checked_rows(easy_X, is_fit=False), easy_labels)
        learner = as_learner(self.strong, self.training or TrainConfig(), parameter="strong")
        trainings = _Trainings(learner, X, votes, easy_labels, recipe, self.validation_fraction, seed)
        self.labels_ = trainings.labels()
        self.fitted_ = trainings.student(self.labels_)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The distribution over `classes_`, of shape (n_samples, n_classes)."""
        check_is_fitted(self)
        return probabilities(self.fitted_.log_probs(self._checked_rows(X, is_fit=False)))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row."""
        columns = self.predict_proba(X).argmax(1)
        return self.classes_[columns]

    def save(self, folder: str | Path) -> Path:
        """Write a pretrained model's student as a run exports its own: `load_student` and transformers read it.

        Raises
        ------
        ConfigError
            The student is no pretrained model, or was itself loaded from a folder.
        """
        check_is_fitted(self)
        return save_folder(Path(folder), self.fitted_, self.classes_, as_recipe(self.recipe))

    @classmethod
    def load(cls, folder: str | Path, *, trusted: str | None = None) -> "Student":
        """A student from what `save` or a run wrote; the classes of a run's are texts.

        Parameters
        ----------
        folder : str or Path
        trusted : str or None
            Repository whose own code may run.

        Raises
        ------
        ModelError
            The folder is no student, or is damaged.
        """
        loaded = load_folder(Path(folder), trusted=trusted)
        student = cls(loaded.strong, loaded.recipe)
        student.classes_, student.fitted_ = loaded.classes, loaded.predictor
        return student


class _Trainings:
    """The trainings of the strong model for one student: of label models, of selections, and its own.

    Args:
        X: the unlabelled rows, then the easy ones.
        easy_labels: class indices; empty where there is no easy example.

    Raises:
        ValueError: the recipe needs what is not given.
    """

    def __init__(
        self,
        learner: Learner,
        X: Any,
        votes: Votes,
        easy_labels: Int[Tensor, " easy"],
        recipe: Recipe,
        validation_fraction: float,
        seed: int,
    ):
        self._learner, self._X, self._votes, self._recipe = learner, X, votes, recipe
        self._validation_fraction, self._seed = validation_fraction, seed
        n, n_easy = len(votes.soft), len(easy_labels)
        if recipe.curriculum == "difficulty":
            raise ValueError(
                "recipe: curriculum: difficulty needs the difficulty of each example, which is not given; choose "
                "curriculum: confidence"
            )
        if recipe.with_easy and not n_easy:
            raise ValueError("recipe: with_easy trains on labelled easy examples; give easy=(X, y)")
        if isinstance(learner, TextLearner):
            learner.model.open(X)  # all texts in one pass of the frozen model
        self._data = StudentData(
            easy_rows=torch.arange(n, n + n_easy),
            easy_labels=easy_labels,
            hard_rows=torch.arange(n),
            difficulty=torch.full((n + n_easy,), torch.nan),
            people=torch.full((n,), -1),
        )

    def labels(self) -> Labelled:
        """What the recipe's label model and selection make of the votes."""
        return learned_labels(self._recipe, self._votes, self._learn, self._evidence)

    def student(self, labelled: Labelled) -> Fitted:
        """The strong model trained on these labels as the recipe says."""
        loss = self._recipe.make_loss()
        return self._fit(self._data.by_recipe(self._recipe, loss, labelled, self._votes.member), loss)

    def _learn(self, labelled: Labelled) -> Float[Tensor, "items classes"]:
        return self._log_probs(self._fit(self._data.pseudo_labels(labelled)), self._data.hard_rows).exp()

    def _evidence(self) -> Evidence:
        n_classes = self._votes.soft.shape[1]
        trusted = torch.zeros(len(self._data.easy_rows), dtype=torch.bool)
        own = trusted_own = torch.empty(0, n_classes)
        rows, labels = self._data.easy_rows, self._data.easy_labels
        if self._recipe.make_selection().reads_own:
            trusted = sampling.stratified_holdout(labels, self._validation_fraction, stream(self._seed, "validation"))
            if not bool(trusted.any()):
                raise ValueError(
                    f"recipe: the selection {self._recipe.selection} asks a strong model that learned easy examples; "
                    "give easy=(X, y) with several of each class"
                )
            on_easy = self._fit(true_labels(rows[~trusted], labels[~trusted], n_classes))
            own, trusted_own = (self._log_probs(on_easy, part) for part in (self._data.hard_rows, rows[trusted]))
            temperature = fit_temperature(trusted_own, labels[trusted])
            own, trusted_own = (apply_temperature(part, temperature).exp() for part in (own, trusted_own))

        def features() -> tuple[Tensor, Tensor]:
            return self._features(self._data.hard_rows), self._features(rows[trusted])

        return Evidence(self._votes.member, own, trusted_own, labels[trusted], features)

    def _fit(self, supervision: Supervision, loss: WeakToStrongLoss | None = None) -> Fitted:
        seed, loss = stream_seed(self._seed, "student"), loss or CrossEntropy()
        if isinstance(self._learner, StudentLearner):
            return self._learner.fit_supervision(self._X, supervision, loss, seed=seed)
        if not isinstance(loss, CrossEntropy) or supervision.pace is not None:
            raise ConfigError(
                f"recipe: a {type(self._learner).__name__} is trained in one go, so its loss must be xent, without a "
                f"curriculum; got {self._recipe.name}"
            )
        X = take(self._X, supervision.rows)
        return self._learner.fit(X, supervision.targets.soft, supervision.weights, seed=seed)

    def _log_probs(self, fitted: Fitted, rows: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
        return fitted.log_probs(take(self._X, rows))

    def _features(self, rows: Int[Tensor, " rows"]) -> Float[Tensor, "rows dim"]:
        X = take(self._X, rows)
        if isinstance(self._learner, TextLearner):
            return self._learner.model.features(X)
        if not hasattr(X, "shape"):
            raise ConfigError(
                f"recipe: the selection {self._recipe.selection} compares features, and these rows are no arrays; "
                "choose another selection"
            )
        return torch.from_numpy(np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float32))


def as_recipe(recipe: str | Recipe | Mapping[str, Any]) -> Recipe:
    """A recipe from the name of its loss or from its settings. Raises ValueError (pydantic's) naming what is wrong."""
    if isinstance(recipe, Recipe):
        return recipe
    return Recipe.model_validate({"loss": recipe} if isinstance(recipe, str) else dict(recipe))
