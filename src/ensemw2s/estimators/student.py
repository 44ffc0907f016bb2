"""A strong model that learns from weak labels, as an estimator of scikit-learn's kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ensemw2s.config import Recipe, TrainConfig
from ensemw2s.estimators.base import Classifier, as_learner, probabilities
from ensemw2s.estimators.student_folder import load_folder, save_folder
from ensemw2s.estimators.student_labels import joined, read_labels
from ensemw2s.estimators.student_training import StudentTraining


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
        How a pretrained model is trained; None is `TrainConfig()`: a linear head is fitted to the optimum of its loss
        where it has one, else steps are taken until a fifth of the examples, held out, no longer improve.
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
        learner = as_learner(self.strong, self.training, X, parameter="strong")
        training = StudentTraining(learner, X, votes, easy_labels, recipe, self.validation_fraction, seed)
        self.labels_ = training.labels()
        self.fitted_ = training.student(self.labels_)
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

        One on vectors (`model: features:PATH`) answers an array of them and is not trained further.

        Parameters
        ----------
        folder : str or Path
            The folder, or OWNER/NAME on the hub.
        trusted : str or None
            Repository whose own code may run.

        Raises
        ------
        ModelError
            The folder is no student, or is damaged; or the hub does not give it.
        """
        loaded = load_folder(folder, trusted=trusted)
        student = cls(loaded.strong, loaded.recipe)
        student.classes_, student.fitted_ = loaded.classes, loaded.predictor
        return student


def as_recipe(recipe: str | Recipe | Mapping[str, Any]) -> Recipe:
    """A recipe from the name of its loss or from its settings. Raises ValueError (pydantic's) naming what is wrong."""
    if not isinstance(recipe, Recipe):
        recipe = Recipe.model_validate({"loss": recipe} if isinstance(recipe, str) else dict(recipe))
    recipe.check_classes()
    return recipe
