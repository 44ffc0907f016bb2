"""Per-item figures of every row of a run, and the intervals over them (algorithms, section 9)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core import intervals, metrics
from ensemw2s.core.seeds import stream
from ensemw2s.data.balance import is_uneven
from ensemw2s.data.splits import Split
from ensemw2s.names import BOOSTING, INDEPENDENT, SINGLE
from ensemw2s.pipeline import cost
from ensemw2s.pipeline.rows import Named, SeedOutcome
from ensemw2s.pipeline.students import CEILING, STRONG_ON_EASY
from ensemw2s.results import (
    Comparison,
    DifficultyBin,
    DifficultyCurve,
    Figure,
    Interval,
    Pgr,
    Reliability,
    ReliabilityBin,
    Row,
)
from ensemw2s.tables import METHODS

N_DIFFICULTY_BINS = 6


@dataclass(frozen=True)
class Truth:
    """The opened labels of the test parts that there are, for the evaluation alone."""

    rows: dict[str, Int[Tensor, " _"]]
    labels: dict[str, Int[Tensor, " _"]]
    groups: dict[str, Int[Tensor, " _"]]
    difficulty: dict[str, Float[Tensor, " _"]]

    @property
    def tests(self) -> tuple[str, ...]:
        return tuple(self.rows)

    @property
    def hardest(self) -> str:
        """The part of diagnostics: OOD, or ID where there is no OOD test."""
        return self.tests[-1]

    @property
    def has_difficulty(self) -> bool:
        """Whether any two test items differ in it."""
        return len(torch.cat(list(self.difficulty.values())).unique()) > 1


def open_truth(split: Split) -> Truth:
    """Open the seals of the test parts."""
    rows = {part: torch.tensor(list(split.pools[part])) for part in split.tests}
    return Truth(
        rows,
        {part: split.sealed[part].open("evaluation") for part in rows},
        {part: split.groups[rows[part]] for part in rows},
        {part: split.difficulty[rows[part]] for part in rows},
    )


class Table:
    """Per-item figures of every row, and the intervals over them."""

    def __init__(self, outcomes: Sequence[SeedOutcome], truth: Truth):
        self.outcomes: Sequence[Any] = outcomes
        self.truth = truth
        self.resamples = {
            part: intervals.Resamples.draw(truth.groups[part], len(outcomes), stream(0, "interval", part))
            for part in truth.tests
        }

    def log_probs(self, key: str, part: str) -> list[Float[Tensor, "items classes"]]:
        return [o.log_probs[key][part] for o in self.outcomes]

    def correct(self, key: str, part: str) -> Float[Tensor, "seeds items"]:
        labels = self.truth.labels[part]
        return torch.stack([(lp.argmax(-1) == labels) for lp in self.log_probs(key, part)]).double()

    def items(self, named: Sequence[Named]) -> dict[str, Tensor]:
        """What every row answers truly, by item and seed, and the items' groups."""
        groups = {f"{part}/groups": self.truth.groups[part].long().contiguous() for part in self.truth.tests}
        return groups | {
            f"{part}/{n.key}": self.correct(n.key, part).bool() for n in named for part in self.truth.tests
        }

    def row(self, named: Named) -> Row:
        """All metrics of a row on easy-val, ID and OOD."""
        parts = {
            "easy_val": {
                "accuracy": self._per_seed(named.key, "easy_val", "accuracy", metrics.accuracy),
                "log_loss": self._per_seed(named.key, "easy_val", "log_loss", metrics.log_loss),
            }
        }
        for part in self.truth.tests:
            labels = self.truth.labels[part]
            accuracy = self.correct(named.key, part)
            figures = {
                "accuracy": Figure(per_seed=tuple(accuracy.mean(1).tolist()), interval=self.share(accuracy, part))
            }
            for name, metric in (
                ("log_loss", metrics.log_loss),
                ("brier", metrics.brier),
                ("ece", metrics.ece),
            ):
                figures[name] = self._per_seed(named.key, part, name, metric)
            if is_uneven(labels):
                name = "balanced_accuracy"
                figures[name] = self._per_seed(named.key, part, name, metrics.balanced_accuracy)
            if self.log_probs(named.key, part)[0].shape[1] == 2 and len(labels.unique()) == 2:
                figures["auroc"] = self._per_seed(named.key, part, "auroc", metrics.auroc)
            parts[part] = figures
        return Row(
            key=named.key,
            label=named.label,
            kind=named.kind,
            parts=parts,
            cost=cost.mean(o.cost[named.key] for o in self.outcomes),
            n_experts=tuple(o.n_experts[named.key] for o in self.outcomes if named.key in o.n_experts),
        )

    def difference(self, values: Float[Tensor, "seeds items"], part: str) -> Interval:
        """Of the mean of per-item differences of right answers: items crossed with seeds."""
        return interval_of(intervals.mean_interval(values, self.resamples[part]), intervals.DIFFERENCE)

    def share(self, correct: Float[Tensor, "seeds items"], part: str) -> Interval:
        """The same of right answers, which are a share."""
        return interval_of(intervals.mean_interval(correct, self.resamples[part]), intervals.SHARE)

    def comparisons(self, named: Sequence[Named]) -> list[Comparison]:
        """Paired differences in accuracy: students against strong-on-easy and against the single weak expert's
        student of the same recipe; boosting against the other ensembles; members with views of their own against
        independent ones."""
        keys = {n.key for n in named}
        pairs: list[tuple[str, str]] = []
        methods = [m for m in METHODS if m in keys]
        others = [m for m in methods if m not in (SINGLE, BOOSTING)]
        for n in named:
            if n.kind == "student" or n.teacher == "self":
                pairs.append((n.key, STRONG_ON_EASY))
            if n.kind == "student" and n.teacher != SINGLE:
                pairs.append((n.key, f"student:{SINGLE}:{n.recipe}"))
            if n.kind == "student" and n.teacher == BOOSTING:
                pairs += [(n.key, f"student:{other}:{n.recipe}") for other in others]
            if n.kind == "student":
                pairs.append((n.key, f"self_training:{n.recipe}"))
        pairs += [(BOOSTING, other) for other in (SINGLE, *others, "single_long", STRONG_ON_EASY)]
        # Members that share the streams of independent ones differ from them in their view alone.
        pairs += [(m, INDEPENDENT) for m in methods if METHODS[m].stream == INDEPENDENT]
        pairs += [(CEILING, STRONG_ON_EASY), (CEILING, SINGLE)]
        return [self._compare(a, b, part) for a, b in pairs if {a, b} <= keys for part in self.truth.tests]

    def _compare(self, row: str, baseline: str, part: str) -> Comparison:
        difference = self.correct(row, part) - self.correct(baseline, part)
        p_value = intervals.paired_p_value(difference, self.resamples[part])
        return Comparison(
            row=row, baseline=baseline, part=part, difference=self.difference(difference, part), p_value=p_value
        )

    def pgr(self, named: Named) -> Pgr:
        """Gap recovered on OOD between the single weak expert and the ceiling."""
        part = "ood_test"
        lacking = [n for n in (SINGLE, CEILING) if n not in self.outcomes[0].cost]
        if part not in self.truth.tests or lacking:
            reason = f"the run has no row {lacking[0]!r}" if lacking else "there is no OOD test"
            return Pgr(row=named.key, part=part, value=None, reason=reason)
        value, reason = intervals.pgr(
            self.correct(named.key, part),
            self.correct(SINGLE, part),
            self.correct(CEILING, part),
            self.resamples[part],
        )
        return Pgr(row=named.key, part=part, value=None if value is None else interval_of(value), reason=reason)

    def difficulty(self, key: str) -> DifficultyCurve:
        """Accuracy in bins of equally many test items, easiest first."""
        values = torch.cat([self.correct(key, part) for part in self.truth.tests], dim=1)
        difficulty = torch.cat(list(self.truth.difficulty.values()))
        groups = torch.cat(list(self.truth.groups.values()))
        edges = torch.quantile(difficulty, torch.linspace(0, 1, N_DIFFICULTY_BINS + 1, dtype=difficulty.dtype)).unique()
        which = torch.bucketize(difficulty, edges[1:-1], right=True)
        bins = []
        for b in which.unique().tolist():
            inside = (which == b).nonzero()[:, 0]
            drawn = intervals.Resamples.draw(groups[inside], len(values), stream(0, "interval", "difficulty", b))
            estimate = intervals.mean_interval(values[:, inside], drawn)
            bins.append(
                DifficultyBin(
                    low=float(difficulty[inside].min()),
                    high=float(difficulty[inside].max()),
                    n_items=len(inside),
                    accuracy=interval_of(estimate, intervals.SHARE),
                )
            )
        return DifficultyCurve(row=key, bins=tuple(bins))

    def reliability(self, key: str) -> Reliability:
        """Confidence against accuracy on the hardest test, seeds pooled."""
        pooled = torch.cat(self.log_probs(key, self.truth.hardest))
        labels = self.truth.labels[self.truth.hardest].repeat(len(self.outcomes))
        bins = metrics.reliability_bins(pooled, labels, n_bins=10)
        return Reliability(
            row=key,
            bins=tuple(ReliabilityBin(confidence=b.confidence, accuracy=b.accuracy, n_items=b.n_items) for b in bins),
        )

    def _per_seed(self, key: str, part: str, name: str, metric: Callable[[Tensor, Tensor], float]) -> Figure:
        """A metric that is no mean over items, or whose items differ by seed: the interval is over seeds alone."""
        values = [
            metric(o.log_probs[key][part], o.val_labels if part == "easy_val" else self.truth.labels[part])
            for o in self.outcomes
        ]
        return figure(values, name)


def worth_showing(chosen: str, keys: Sequence[str], primary: str) -> list[str]:
    """Rows whose curves are drawn."""
    wanted = (SINGLE, BOOSTING, STRONG_ON_EASY, primary, chosen, CEILING)
    return [key for key in dict.fromkeys(wanted) if key in keys]


def figure(per_seed: Sequence[float], name: str) -> Figure:
    """A figure that seeds alone have, by its name in `metrics.RANGES`."""
    estimate = intervals.seed_interval(torch.tensor(per_seed, dtype=torch.float64))
    return Figure(per_seed=tuple(per_seed), interval=interval_of(estimate, metrics.RANGES[name]))


def interval_of(estimate: intervals.Estimate, limits: intervals.Range | None = None) -> Interval:
    """As a record; within the limits of what it estimates, where that has any."""
    if limits is not None:
        estimate = intervals.within(estimate, limits)
    return Interval(mean=estimate.mean, low=estimate.low, high=estimate.high, method=estimate.method)


def part_predictions(
    log_probs: Float[Tensor, "items classes"], sizes: Mapping[str, int]
) -> dict[str, Float[Tensor, "_ classes"]]:
    """Cut predictions over concatenated parts back into the parts."""
    return dict(zip(sizes, log_probs.split(list(sizes.values())), strict=True))
