"""The table of a run: per-item answers of every condition, and the intervals over them."""

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.core import intervals, metrics
from ensemw2s.core.seeds import stream
from ensemw2s.evaluation import costs
from ensemw2s.evaluation.choice.steadiness import steadiness
from ensemw2s.evaluation.conditions import NamedCondition
from ensemw2s.evaluation.figures import difference_of, figure, interval_of, share_of, share_of_items
from ensemw2s.evaluation.scored import VAL, HeldOutItems, Scored, ScoredSeed
from ensemw2s.names import BOOSTING, INDEPENDENT
from ensemw2s.names import SINGLE as SINGLE_METHOD
from ensemw2s.results import (
    Comparison,
    Condition,
    Confusion,
    DifficultyBin,
    DifficultyCurve,
    Figure,
    Pgr,
    Reliability,
    ReliabilityBin,
    Row,
)
from ensemw2s.results.conditions import (
    AUGMENTED,
    AUTO,
    BEST_OF_N,
    CEILING,
    MAJORITY_OF_N,
    SELF,
    SINGLE,
    SINGLE_LONG,
    STRONG_ON_EASY,
    TRIVIAL,
    ZERO_SHOT,
    chosen_of_n,
    ensemble,
    student,
)
from ensemw2s.tables import METHODS

N_DIFFICULTY_BINS = 6


class Table:
    """Figures of every condition.

    Args:
        seeds: what each seed gives.
        items: of the tests.
        conditions: those that every seed has, in the order of the table.
        primary: name of the first recipe, by which `auto` finds its rivals.
    """

    def __init__(
        self, seeds: Sequence[ScoredSeed], items: HeldOutItems, conditions: Sequence[NamedCondition], primary: str
    ):
        self.seeds, self.items, self.conditions, self.primary = seeds, items, conditions, primary
        self.resamples = {
            part: intervals.Resamples.draw(groups, len(seeds), stream(0, "interval", part))
            for part, groups in items.groups.items()
        }

    @cached_property
    def present(self) -> frozenset[Condition]:
        return frozenset(each.condition for each in self.conditions)

    @cached_property
    def _others(self) -> list[str]:
        """Ensemble methods of the run that boosting is compared with."""
        methods = [c.method for c in (each.condition for each in self.conditions) if c.kind == "ensemble"]
        return [m for m in methods if m is not None and m not in (BOOSTING, SINGLE_METHOD)]

    def scored(self, condition: Condition, part: str) -> list[Scored]:
        """Of every seed."""
        return [seed.conditions[condition].parts[part] for seed in self.seeds]

    def right(self, condition: Condition, part: str) -> Float[Tensor, "seeds items"]:
        """1 where the answer is true, else 0."""
        return torch.stack([scored.right for scored in self.scored(condition, part)]).double()

    def tensors(self) -> dict[str, Tensor]:
        """Which items each condition answers truly, by part and key, and the items' groups: `items.safetensors`."""
        groups = {f"{part}/groups": groups.long().contiguous() for part, groups in self.items.groups.items()}
        return groups | {
            f"{part}/{each.condition.key}": self.right(each.condition, part).bool()
            for each in self.conditions
            for part in self.items.parts
        }

    def row(self, named: NamedCondition) -> Row:
        """All metrics of a condition on easy-val and the tests."""
        condition = named.condition
        parts: dict[str, dict[str, Figure]] = {}
        for part in (VAL, *self.items.parts):
            scored = self.scored(condition, part)
            accuracy = [float(each.right.double().mean()) for each in scored]
            if part == VAL:  # its items differ by seed, so the interval is over seeds alone
                figures = {"accuracy": figure(accuracy, "accuracy")}
            else:
                right, drawn = self.right(condition, part), self.resamples[part]
                interval, over_items = share_of(right, drawn), share_of_items(right, drawn)
                figures = {"accuracy": Figure(per_seed=tuple(accuracy), interval=interval, over_items=over_items)}
            names = [name for name in scored[0].figures if part != VAL or name in ("log_loss", "token_error")]
            figures |= {name: figure([each.figures[name] for each in scored], name) for name in names}
            parts[part] = figures
        per_seed = [seed.conditions[condition] for seed in self.seeds]
        return Row(
            key=condition.key,
            condition=condition,
            label=named.label,
            how=named.how,
            kind=condition.group,
            parts=parts,
            cost=costs.mean(each.cost for each in per_seed),
            n_experts=tuple(each.n_experts for each in per_seed if each.n_experts is not None),
            trainings=tuple(end for each in per_seed for end in each.ends),
            steadiness=steadiness(self.seeds, condition),
        )

    def comparisons(self) -> list[Comparison]:
        """Paired differences in accuracy of every condition with its rivals, on every test.

        Students against strong-on-easy, self-training and the student of the single weak expert, of the same recipe;
        ensembles against strong-on-easy, boosting against the others, members with a view of their own against
        independent ones, merged members against their vote and the single weak expert.
        """
        pairs: list[tuple[Condition, Condition]] = []
        for condition in (each.condition for each in self.conditions):
            pairs += [(condition, rival) for rival in self._rivals(condition)]
        boosting, others = ensemble(BOOSTING), self._others
        pairs += [(boosting, ensemble(m)) for m in (SINGLE_METHOD, *others)]
        pairs += [(boosting, SINGLE_LONG)]
        pairs += [(ensemble(m), STRONG_ON_EASY) for m in (BOOSTING, SINGLE_METHOD, *others)]
        pairs += [(ensemble(m), ensemble(INDEPENDENT)) for m in others if METHODS[m].needs_pooled_head]
        of_one_model = [each.condition for each in self.conditions if each.condition.kind == "merged"]
        pairs += [(c, rival) for c in of_one_model for rival in (ensemble(str(c.method)), SINGLE)]
        shown = [each.condition for each in self.conditions if each.condition.kind == "in_context"]
        pairs += [(each, rival) for each in shown for rival in (ZERO_SHOT, STRONG_ON_EASY)]
        pairs += [pair for each in self.conditions for pair in _of_n(each.condition)]
        pairs += [(CEILING, STRONG_ON_EASY), (CEILING, SINGLE)]
        pairs += [(STRONG_ON_EASY, trivial) for trivial in TRIVIAL]
        return self._compared(pairs)

    def against_trivial(self, condition: Condition) -> list[Comparison]:
        """The paired differences of one condition with the trivial rivals."""
        return self._compared([(condition, trivial) for trivial in TRIVIAL if condition != STRONG_ON_EASY])

    def _compared(self, pairs: Sequence[tuple[Condition, Condition]]) -> list[Comparison]:
        return [self._compare(a, b, part) for a, b in pairs if {a, b} <= self.present for part in self.items.parts]

    def _rivals(self, condition: Condition) -> list[Condition]:
        if condition.kind == "self_training" or condition == AUGMENTED:
            return [STRONG_ON_EASY]
        if condition.group != "student":
            return []
        recipe = condition.recipe or self.primary
        rivals = [STRONG_ON_EASY]
        if condition.method != SINGLE_METHOD:
            rivals.append(student(SINGLE_METHOD, recipe))
        if condition.method == BOOSTING:
            rivals += [student(other, recipe) for other in self._others]
        if condition == AUTO:
            rivals.append(student(INDEPENDENT, recipe))
        return [*rivals, student(SELF, recipe)]

    def _compare(self, condition: Condition, baseline: Condition, part: str) -> Comparison:
        difference = self.right(condition, part) - self.right(baseline, part)
        return Comparison(
            row=condition.key,
            baseline=baseline.key,
            part=part,
            difference=difference_of(difference, self.resamples[part]),
            p_value=intervals.paired_p_value(difference, self.resamples[part]),
        )

    def pgr(self, condition: Condition) -> Pgr:
        """Gap recovered on OOD between the single weak expert and the ceiling."""
        part = "ood_test"
        lacking = [reference.key for reference in (SINGLE, CEILING) if reference not in self.present]
        if part not in self.items.parts or lacking:
            reason = f"the run has no row {lacking[0]!r}" if lacking else "there is no OOD test"
            return Pgr(row=condition.key, part=part, value=None, reason=reason)
        own, weak, ceiling = (self.right(c, part) for c in (condition, SINGLE, CEILING))
        value, reason = intervals.pgr(own, weak, ceiling, self.resamples[part])
        return Pgr(row=condition.key, part=part, value=None if value is None else interval_of(value), reason=reason)

    def difficulty(self, condition: Condition) -> DifficultyCurve:
        """Accuracy in bins of equally many test items, easiest first."""
        right = torch.cat([self.right(condition, part) for part in self.items.parts], dim=1)
        difficulty = torch.cat(list(self.items.difficulty.values()))
        groups = torch.cat(list(self.items.groups.values()))
        edges = torch.quantile(difficulty, torch.linspace(0, 1, N_DIFFICULTY_BINS + 1, dtype=difficulty.dtype)).unique()
        bin_of = torch.bucketize(difficulty, edges[1:-1], right=True)
        bins = []
        for b in bin_of.unique().tolist():
            inside = (bin_of == b).nonzero()[:, 0]
            drawn = intervals.Resamples.draw(groups[inside], len(right), stream(0, "interval", "difficulty", b))
            bins.append(
                DifficultyBin(
                    low=float(difficulty[inside].min()),
                    high=float(difficulty[inside].max()),
                    n_items=len(inside),
                    accuracy=share_of(right[:, inside], drawn),
                )
            )
        return DifficultyCurve(row=condition.key, bins=tuple(bins))

    def confusion(self, condition: Condition) -> Confusion | None:
        """True against given classes on the hardest test, seeds pooled; None where there are no classes."""
        counts = [each.confusion for each in self.scored(condition, self.items.hardest) if each.confusion is not None]
        if not counts:
            return None
        pooled = torch.stack(counts).sum(0).tolist()
        return Confusion(row=condition.key, counts=tuple(tuple(row) for row in pooled))

    def reliability(self, condition: Condition) -> Reliability:
        """Confidence against accuracy on the hardest test, seeds pooled."""
        scored = self.scored(condition, self.items.hardest)
        confidence = torch.cat([each.confidence for each in scored if each.confidence is not None])
        return reliability_of(condition.key, confidence, torch.cat([each.right for each in scored]))


def reliability_of(key: str, confidence: Float[Tensor, " items"], right: Tensor) -> Reliability:
    """Ten bins of confidence with the accuracy in each."""
    bins = metrics.confidence_bins(confidence.double(), right, n_bins=10)
    return Reliability(
        row=key,
        bins=tuple(ReliabilityBin(confidence=b.confidence, accuracy=b.accuracy, n_items=b.n_items) for b in bins),
    )


def _of_n(condition: Condition) -> list[tuple[Condition, Condition]]:
    """What a choice among a model's samples is held against: the majority's, and the model's own answer."""
    if condition.kind not in (BEST_OF_N, MAJORITY_OF_N):
        return []
    recipe = condition.recipe
    model = STRONG_ON_EASY if condition.method is None else student(condition.method, str(recipe))
    beside = [chosen_of_n(MAJORITY_OF_N, condition.method, recipe)] if condition.kind == BEST_OF_N else []
    return [(condition, rival) for rival in (*beside, model)]
