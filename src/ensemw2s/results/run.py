"""The one typed record of a finished run: `results.json` is this, and everything that shows figures reads it.

Seconds and memory are not here but in `timing.json`, so two runs of one configuration can be equal to the digit.
"""

from typing import Literal

from pydantic import Field

from ensemw2s.results.base import Record
from ensemw2s.results.curves import BestOfN, BudgetCurve, Confusion, DifficultyCurve, Reliability
from ensemw2s.results.items import AnswerSample, Items, LabelledText
from ensemw2s.results.rounds import EnsembleTrace, PoolMember, TokenWeights
from ensemw2s.results.rows import Comparison, Mending, PerturbedTest, Pgr, Robustness, Row
from ensemw2s.results.voters import Voters

SCHEMA_VERSION = 2


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
    best_of_n: tuple[BestOfN, ...] = ()
    """generation, where judges choose among drawn answers and the true answers of the unlabelled items are known."""
    voters: Voters | None = None
    """Outside voters, where there are some."""
    pool: tuple[PoolMember, ...] = ()
    """The weak models, where there are several."""
    items: Items | None = None
    """Unlabelled items to look at."""
    thumbnails: dict[str, str] = Field(default_factory=dict)
    """Of pictures that are shown, by the name that stands in their text: a small PNG in base64. Not all have one."""
    confusion: tuple[Confusion, ...] = ()
    """classes: of the rows whose curves are drawn."""
    mending: tuple[Mending, ...] = ()
    """Of the students of weak labels, where the true answers of the unlabelled items are known."""
    restarts: tuple[Mending, ...] = ()
    """`generation.restart`: of the teachers' samples, beside the answers that they went on from; else as `mending`."""
    perturbed: tuple[PerturbedTest, ...] = ()
    """`evaluation.perturb`: the tests with their questions worded otherwise."""
    robustness: tuple[Robustness, ...] = ()
    """Every row on each of these."""
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
