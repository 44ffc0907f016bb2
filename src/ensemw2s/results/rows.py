"""The table of a run: its rows, and what is said of one row beside another."""

from ensemw2s.results.base import Cost, Figure, Interval, Record
from ensemw2s.results.conditions import Condition, RowKind
from ensemw2s.training_end import TrainingEnd


class Row(Record):
    """One way to get a model: a baseline, an ensemble, a student or the ceiling."""

    key: str
    """The condition's, by which comparisons and curves name their rows."""
    condition: Condition
    label: str
    """What a reader sees: its name in words."""
    how: str = ""
    """The end of the label that says how it learns; empty where that goes without saying."""
    kind: RowKind
    parts: dict[str, dict[str, Figure]]
    """part (easy_val, id_test, and ood_test where there is one) to metric (accuracy, log_loss, brier, ece, macro_f1,
    auroc) to figure; auroc only for two classes, balanced_accuracy only where their sizes differ more than twofold,
    quadratic_kappa and class_distance only where classes are ordered."""
    cost: Cost
    n_experts: tuple[int, ...] = ()
    """T per seed, for ensembles and their students."""
    trainings: tuple[TrainingEnd | None, ...] = ()
    """Of all seeds, how each training ended: of those who answer (an ensemble's voting experts), and of the students
    that its label model asked. None where it was stored before this was kept."""
    steadiness: float | None = None
    """How far its answers to the unlabelled examples are the same in all seeds: mean Cohen's kappa between two seeds
    (`evaluation/choice/steadiness.py`). None where it gave none, answers are in words, or there is one seed."""

    @property
    def converged(self) -> bool | None:
        """Whether all of these trainings converged; None where nothing is trained, or nobody knows."""
        if any(end is not None and not end.converged for end in self.trainings):
            return False
        return None if not self.trainings or None in self.trainings else True

    @property
    def who(self) -> str:
        """The label without how it learns."""
        return self.label.removesuffix(self.how).rstrip(", :")


class Comparison(Record):
    """A paired difference in accuracy, `row` minus `baseline`."""

    row: str
    baseline: str
    part: str
    difference: Interval
    p_value: float | None
    """Two-sided, of the paired test over seeds and items; None where it cannot be computed (one seed)."""


class Pgr(Record):
    """Performance gap recovered on one part, (student - weak) / (ceiling - weak); never clipped."""

    row: str
    part: str
    value: Interval | None
    reason: str
    """Why it is undefined; empty where it is defined."""


class Mending(Record):
    """A student's answers to the unlabelled items, beside the labels that it learned of them; or a teacher's samples,
    beside its own answers that they went on from, which are the labels then."""

    row: str
    labels_right: Interval
    """Share of right labels: of what the recipe's label model made of the votes, before any selection."""
    mended: Interval | None
    """Share of the wrong labels to which the student gives the right answer; None where no label is wrong."""
    broken: Interval | None
    """Share of the right labels to which it gives a wrong answer; None where no label is right."""
    net: Interval
    """Mended less broken labels as a share of all: what it is right more often than its labels."""
    n_wrong: float
    """Wrong labels; mean over seeds."""


class PerturbedTest(Record):
    """A test whose questions were worded otherwise."""

    perturbation: str
    part: str
    n_changed: int
    """Questions that the perturbation changed."""
    n_others: int
    """Questions left as they were, because another example's prompt would have come out, or nothing."""


class Robustness(Record):
    """A row on a perturbed test."""

    row: str
    perturbation: str
    part: str
    accuracy: Figure
    drop: Interval
    """Its accuracy on the test as it is less this one, paired by seed and item."""
    beyond_teacher: Interval | None = None
    """Students: their drop less that of the ensemble whose labels they learned; below 0 they stand it better."""
