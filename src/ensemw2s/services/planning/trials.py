"""A little of every kind of work of one model, made with the run's own functions on a few of its own examples."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from ensemw2s.config import TrainConfig
from ensemw2s.forms.prepared import Prepared, SeedContext
from ensemw2s.services.planning.units import ModelVerb, RoleName, training_verb, trainings_of

N_ROWS = 64
"""Examples that are read, scored and written."""
N_ASKED = N_ROWS // 4
"""Examples to which an untrained model writes: it may not know where to end."""


@dataclass(frozen=True)
class Trial:
    """A little of one kind of work, and how much of it that is."""

    work: Callable[[], object]
    amount: Callable[[], float]
    """Asked once the work was done."""


class RoleTrials(ABC):
    """Trials of one model; what they share is made once, and only for those that are asked for.

    Args:
        prepared: the experiment.
        seed: the first of its seeds, whose examples are used.
        name: of the model.
    """

    def __init__(self, prepared: Prepared, seed: SeedContext, name: RoleName):
        self.config, self.seed, self.draw, self.name = prepared.config, seed, seed.draw, name
        self.trainings = [_short(training) for each, training in trainings_of(prepared.config) if each == name]
        """Each way in which the model is trained."""

    def of(self, verb: ModelVerb) -> Trial:
        """The trial of this work; there is one of every kind that the run's units have."""
        match verb:
            case "read":
                return self.read()
            case "train":
                return self.train()
            case "fit":
                return self.fit()
            case "score":
                return self.score()
            case "write":
                return self.write()
            case "ask":
                return self.ask()
            case "judge":
                return self.judge()

    @abstractmethod
    def read(self) -> Trial:
        """The trunk's pass."""

    @abstractmethod
    def train(self) -> Trial:
        """A training of one epoch."""

    @abstractmethod
    def fit(self) -> Trial:
        """A search for the optimum."""

    @abstractmethod
    def score(self) -> Trial:
        """Answers of trained models to what their trunk has read."""

    @abstractmethod
    def write(self) -> Trial:
        """Texts of the length that they will have."""

    @abstractmethod
    def ask(self) -> Trial:
        """Answers of the untrained model, written as the run writes them."""

    @abstractmethod
    def judge(self) -> Trial:
        """The whole model reads answers, and judges them."""

    def training_by(self, verb: ModelVerb) -> TrainConfig:
        """The training of this verb, of which units have been counted."""
        return next(training for training in self.trainings if training_verb(training) == verb)


def _short(training: TrainConfig) -> TrainConfig:
    """One epoch; the search for a size that fits is no part of a step."""
    micro = None if training.micro_batch_size == "auto" else training.micro_batch_size
    return training.model_copy(update={"epochs": 1, "patience": None, "micro_batch_size": micro})
