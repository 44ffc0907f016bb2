"""The one typed record of a finished run: `results.json` is this, and everything that shows figures reads it.

Seconds and memory are not here but in `timing.json`, so two runs of one configuration can be equal to the digit.
"""

from typing import Literal

from pydantic import Field

from ensemw2s.names import Outcome
from ensemw2s.results.base import Cost, Figure, Interval, Record
from ensemw2s.results.conditions import Condition, RowKind
from ensemw2s.results.mending import Mending
from ensemw2s.training_end import TrainingEnd

SCHEMA_VERSION = 2


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
    (`evaluation/steadiness.py`). None where it gave none, answers are in words, or there is one seed."""

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


class Round(Record):
    """One boosting (or bagging, or independent) round of one seed."""

    round: int
    weighted_error: float
    """eps_t: the new expert's error under D_t."""
    previous_error: float | None
    """Expert t-1's error under the same D_t; equal to `weighted_error` where training ignored the weights."""
    expert_weight: float
    """alpha_t, nats."""
    effective_sample_size: float
    """1 / sum of D_t squared."""
    outcome: Outcome
    member_accuracy: dict[str, float]
    """part to accuracy of this expert alone."""
    ensemble_accuracy: dict[str, float]
    """part to accuracy of the first t experts together."""
    training: TrainingEnd | None = None
    """How the expert's training ended; None where it was stored before this was kept."""
    member: str | None = None
    """Which of the pool's weak models the expert is; None where there is one."""
    considered: dict[str, float] = Field(default_factory=dict)
    """Where the round chose among the pool: each member's weighted error on held-out folds, or for the single expert
    its accuracy on easy-val."""


class EnsembleTrace(Record):
    """How one method's ensemble of one seed grew."""

    method: str
    seed: int
    prior_error: float
    rounds: tuple[Round, ...]
    selected: int
    """T chosen on easy-val: the first `selected` experts vote."""
    temperature: float
    error_correlation: tuple[tuple[float, ...], ...]
    """Pairwise correlation of the members' errors on the hardest test, experts x experts."""
    all_wrong: float
    """Share of the hardest test on which every member gives the same wrong answer."""


class DifficultyBin(Record):
    low: float
    high: float
    n_items: int
    accuracy: Interval


class DifficultyCurve(Record):
    """A row's accuracy against difficulty over the tests."""

    row: str
    bins: tuple[DifficultyBin, ...]


class ReliabilityBin(Record):
    confidence: float
    accuracy: float
    n_items: int


class Reliability(Record):
    """Confidence against accuracy on the hardest test, seeds pooled."""

    row: str
    bins: tuple[ReliabilityBin, ...]


class Confusion(Record):
    """What a row answers to the items of each class of the hardest test, seeds pooled."""

    row: str
    counts: tuple[tuple[int, ...], ...]
    """True class (in the order of the task's choices) to the number of items given each class."""

    @property
    def recall(self) -> tuple[float | None, ...]:
        """Share of each class's items that are given that class; None where the test has none of it."""
        return tuple(row[k] / sum(row) if sum(row) else None for k, row in enumerate(self.counts))


class LabelledText(Record):
    text: str
    label: str


class TaskInfo(Record):
    name: str
    source: str
    difficulty_meaning: str
    split_uses_labels: bool
    choices: tuple[str, ...]
    sizes: dict[str, int]
    """Examples per part (and per pool), of which each seed draws its own."""
    easy_example: LabelledText | None = None
    """One labelled easy example, by which a reader sees what the task is."""


class Item(Record):
    """One unlabelled item of the first seed, with what everybody answers to it."""

    id: str
    text: str
    label: str
    """What the student learns of it: the ensemble's, outside voters joined."""
    members: tuple[str, ...]
    """Each voting expert's own answer."""
    votes: dict[str, str] = Field(default_factory=dict)
    """Outside voter to its vote, of those that voted."""
    on_easy: str
    """The answer of the strong model that learned the easy labels."""
    student: str | None
    """The student's; None where students are not asked (answers in words)."""
    truth: str | None
    """None where nobody knows it, as below."""
    is_right: bool | None
    """Whether the label is true."""
    student_is_right: bool | None
    kinds: tuple[str, ...] = ()
    """Which of `Items.counts` it is one of."""


class Items(Record):
    """A few hundred unlabelled items of the first seed, those first from which one learns most."""

    method: str
    """The ensemble that labels them."""
    student: str | None
    """Row of the student."""
    n_items: int
    """Of the seed, of which `items` are some."""
    counts: dict[str, int]
    """Among all of them: `mended` and `broken` labels (by the student; where the truth is known), and `disagree`."""
    items: tuple[Item, ...]


class AnswerSample(Record):
    """One unlabelled question of the boosted ensemble's first seed, with what its members and their vote wrote."""

    question: str
    truth: str | None
    """None where nobody knows it."""
    answer: str
    members: tuple[str, ...]
    """Each voting expert's own answer."""
    is_right: bool | None
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]
    """Of each token under the mixture; one more than tokens where the end token came."""


class TokenShare(Record):
    """How much of a round's weight lies on one kind of token."""

    token: str
    share: float
    uniform: float
    """Its share under equal weights."""


class TokenWeights(Record):
    """Where the weights of boosting lie in one round: the tokens that gained most against equal weights."""

    seed: int
    round: int
    tokens: tuple[TokenShare, ...]


class BudgetPoint(Record):
    n_people: float
    """Items that people answered; mean over seeds."""
    accuracy: Interval
    """Share of right labels, over seeds."""


class BudgetCurve(Record):
    """How right an ensemble's labels of the unlabelled items are when people answer some of them."""

    order: str
    """Whom they are asked by first: a router, the three ways, or chance."""
    method: str
    points: tuple[BudgetPoint, ...]


class Voter(Record):
    """An outside voter; numbers of votes are means over seeds."""

    name: str
    basis: Literal["labelled examples", "agreement", "no votes"]
    """By what its reliability was learned: its votes on labelled easy examples, or its agreement with the models' and
    the other voters' labels of the unlabelled items, which is worth less where these are wrong."""
    reliability: Interval | None
    """Share of right votes: counted on labelled examples, with Wilson's interval, or estimated by agreement. None
    without votes."""
    weight: float
    """What its vote for one class weighs against any other class, in nats: 0 where it is not above chance."""
    n_easy: float
    """Votes on labelled examples."""
    n_votes: float
    """Votes on unlabelled items."""
    coverage: float
    """Share of the unlabelled items that it voted on."""
    accuracy: Interval | None
    """Share of right votes on the unlabelled items; None where nobody knows the truth."""


class Voters(Record):
    """Outside voters, and the labels of the unlabelled items that they and an ensemble came to."""

    method: str
    """The ensemble."""
    voters: tuple[Voter, ...]
    coverage: float
    """Share of the unlabelled items that any of them voted on."""
    models_right: Interval | None
    """Share of right labels by the ensemble alone; None where nobody knows the truth."""
    joined_right: Interval | None
    """The same with the voters."""


class PoolMember(Record):
    """A weak model of a pool."""

    name: str
    what: str
    """In words."""
    accuracy: dict[str, float]
    """part to accuracy of its expert alone, trained on all easy examples alike; mean over seeds."""
    taken: dict[str, int]
    """Ensemble method to the number of its experts, of all seeds, that are this member's."""


class Recommendation(Record):
    """What to use, selected on easy-val alone."""

    row: str
    """Of the trained models; its student is exported."""
    headline: str
    """At most 25 words: what to use, how right it is, and whether weak supervision helped."""
    details: tuple[str, ...] = ()
    """Sentences with the intervals behind it: who supervised, and how far it is from what else could be used."""
    is_baseline: bool
    seed: int
    """Whose student is exported: the one with the best easy-val accuracy."""
    rival: str | None = None
    """Row of the trivial baseline, or of the ensemble, that is to be used instead: better than `row` on easy-val, or
    not told from it there and steadier on the unlabelled examples."""
    refit_on: int | None = None
    """Number of labelled examples that the exported student was trained on once more; None: it is the one of the
    figures."""


class Results(Record):
    schema_version: int = SCHEMA_VERSION
    name: str
    config: dict[str, object]
    config_hash: str
    versions: dict[str, str]
    """package to version."""
    seeds: tuple[int, ...]
    task: TaskInfo
    weak: str
    """What the weak model is, in words."""
    strong: str
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    pgr: tuple[Pgr, ...]
    ensembles: tuple[EnsembleTrace, ...]
    difficulty: tuple[DifficultyCurve, ...]
    reliability: tuple[Reliability, ...]
    recommendation: Recommendation
    metric: Literal["accuracy", "exact match"] = "accuracy"
    """What the figure named `accuracy` is: the share of right classes, or of answers that are the true one."""
    samples: tuple[AnswerSample, ...] = ()
    """generation."""
    token_weights: tuple[TokenWeights, ...] = ()
    """generation, `boost_unit: token`."""
    budget: tuple[BudgetCurve, ...] = ()
    """Where the true answers of the unlabelled items are known."""
    voters: Voters | None = None
    """Outside voters, where there are some."""
    pool: tuple[PoolMember, ...] = ()
    """The weak models, where there are several."""
    items: Items | None = None
    """Unlabelled items to look at."""
    confusion: tuple[Confusion, ...] = ()
    """classes: of the rows whose curves are drawn."""
    mending: tuple[Mending, ...] = ()
    """Of the students of weak labels, where the true answers of the unlabelled items are known."""
    notes: tuple[str, ...] = ()
    """What a reader must know: missing rows with the reason, split_uses_labels, shared network and the like."""

    @property
    def hardest_test(self) -> str:
        """`ood_test`, or `id_test` where there is no OOD test."""
        return "ood_test" if "ood_test" in self.task.sizes else "id_test"

    def row(self, key: str) -> Row:
        """The row of that key. Raises KeyError."""
        for row in self.rows:
            if row.key == key:
                return row
        raise KeyError(key)
