"""A synthetic run with every kind of row, curve and note that a page can show; no model and no training."""

import random
from collections.abc import Callable

import pytest

from ensemw2s.results import (
    BudgetCurve,
    BudgetPoint,
    Comparison,
    Condition,
    Cost,
    DifficultyBin,
    DifficultyCurve,
    EnsembleTrace,
    Figure,
    Interval,
    Pgr,
    Recommendation,
    Reliability,
    ReliabilityBin,
    Results,
    Round,
    Row,
    StageTime,
    TaskInfo,
    Timing,
)
from ensemw2s.results.conditions import CEILING, SELF, STRONG_ON_EASY, ZERO_SHOT, ensemble, student

METHODS = {
    "single": "single weak expert",
    "independent": "independent ensemble",
    "bagging": "bagged ensemble",
    "boosting": "boosted ensemble",
}
RECIPES = ("xent-soft", "xent-soft+easy", "logconf-soft")
PARTS = ("easy_val", "id_test", "ood_test")
N_ROUNDS = 6


def interval(mean: float, half: float = 0.02) -> Interval:
    return Interval(mean=mean, low=mean - half, high=mean + half, method="student-t")


def synthetic(n_seeds: int = 3, methods: tuple[str, ...] = tuple(METHODS)) -> Results:
    """Plausible figures, the same for the same arguments."""
    rng = random.Random(0)
    seeds = tuple(range(100, 100 + n_seeds))

    def figure(mean: float) -> Figure:
        return Figure(per_seed=tuple(mean + rng.gauss(0, 0.01) for _ in seeds), interval=interval(mean))

    def row(condition: Condition, label: str, ood: float, n_experts: tuple[int, ...] = ()) -> Row:
        parts = {p: {"accuracy": figure(ood + shift)} for p, shift in zip(PARTS, (0.08, 0.05, 0.0), strict=True)}
        cost = Cost(training_tokens=1_234_567, expert_evaluations=62_400, flops=8.02e12)
        key, kind = condition.key, condition.group
        return Row(key=key, condition=condition, label=label, kind=kind, parts=parts, cost=cost, n_experts=n_experts)

    sizes = {m: tuple(1 if m == "single" else rng.randint(2, N_ROUNDS) for _ in seeds) for m in methods}
    rows = [
        row(ZERO_SHOT, "strong model, zero-shot", 0.5),
        row(STRONG_ON_EASY, "strong model on easy labels", 0.6),
        *(row(student(SELF, r), f"self-training, {r}", 0.6) for r in RECIPES),
        *(row(ensemble(m), METHODS[m], 0.6, sizes[m]) for m in methods),
        *(row(student(m, r), f"student of the {METHODS[m]}, {r}", 0.62, sizes[m]) for m in methods for r in RECIPES),
        row(CEILING, "ceiling: strong model on the true hard labels", 0.7),
    ]
    students = [r for r in rows if r.kind == "student"]
    pairs = [(r.key, "strong_on_easy") for r in students]
    pairs += [(r.key, f"student:single:{r.key.split(':')[2]}") for r in students if "single" not in r.key]
    keys = {r.key for r in rows}
    shown = [methods[-1], "strong_on_easy", students[-1].key, "ceiling"]
    return Results(
        name="synthetic",
        config={"name": "synthetic", "seeds": list(seeds), "task": {"name": "files", "prompt": "{q}"}},
        config_hash="0123456789abcdef" * 4,
        versions={"ensemw2s": "0.1.0", "torch": "2.8.0"},
        seeds=seeds,
        task=TaskInfo(
            name="cities",
            source="GeoNames, CC BY 4.0",
            difficulty_meaning="rank of the city's population",
            split_uses_labels=False,
            choices=("yes", "no"),
            sizes={"easy_pool": 400, "ood_test": 900},
        ),
        weak="small, first 12 layers",
        strong="small, first 20 layers",
        rows=tuple(rows),
        comparisons=tuple(
            Comparison(
                row=a,
                baseline=b,
                part=part,
                difference=interval(rng.gauss(0.01, 0.01)),
                p_value=0.042 if n_seeds > 1 else None,
            )
            for a, b in pairs
            if b in keys
            for part in PARTS[1:]
        ),
        pgr=tuple(Pgr(row=r.key, part="ood_test", value=interval(0.25, 0.1), reason="") for r in students),
        ensembles=tuple(trace(m, s, sizes[m][i], rng) for i, s in enumerate(seeds) for m in methods),
        difficulty=tuple(
            DifficultyCurve(
                row=key,
                bins=tuple(
                    DifficultyBin(
                        low=2000.0 * b, high=2000.0 * b + 1999, n_items=300, accuracy=interval(0.75 - 0.04 * b)
                    )
                    for b in range(6)
                ),
            )
            for key in shown
        ),
        reliability=tuple(
            Reliability(
                row=key,
                bins=tuple(
                    ReliabilityBin(confidence=c, accuracy=c - 0.03, n_items=int(900 * (1.05 - c)))
                    for c in (0.55, 0.65, 0.75, 0.85, 0.95)
                ),
            )
            for key in shown[:-1]
        ),
        budget=tuple(
            BudgetCurve(
                order=order,
                method=methods[-1],
                points=tuple(
                    BudgetPoint(n_people=90.0 * i, accuracy=interval(1 - (1 - start) * (1 - i / 10) ** power, 0.01))
                    for i in range(11)
                ),
            )
            for order, start, power in (
                ("by confidence", 0.6, 1.5),
                ("by disagreement", 0.6, 2.5),
                ("three ways, by confidence", 0.7, 1.5),
                ("random order", 0.6, 1.0),
            )
        ),
        recommendation=Recommendation(
            row=students[-1].key, headline="Use the last student: 62.0% on the hard test.", is_baseline=False, seed=100
        ),
        notes=("Both models are depths of one network.",),
    )


def trace(method: str, seed: int, selected: int, rng: random.Random) -> EnsembleTrace:
    n = 1 if method == "single" else N_ROUNDS
    boosts = method == "boosting"
    rounds = tuple(
        Round(
            round=t,
            weighted_error=0.3 + 0.025 * t * boosts + rng.gauss(0, 0.01),
            previous_error=None if t == 0 else 0.5 if boosts else 0.3,
            expert_weight=0.85 / (t + 1) if boosts else 1.0,
            effective_sample_size=1600 - 100.0 * t * boosts,
            outcome="continue",
            member_accuracy={p: 0.62 - 0.02 * t * boosts + rng.gauss(0, 0.005) for p in PARTS},
            ensemble_accuracy={p: 0.62 + 0.004 * t + rng.gauss(0, 0.003) for p in PARTS},
        )
        for t in range(n)
    )
    together = 0.3 if boosts else 0.7
    return EnsembleTrace(
        method=method,
        seed=seed,
        prior_error=0.5,
        rounds=rounds,
        selected=selected,
        temperature=1.1,
        error_correlation=tuple(tuple(1.0 if i == j else together for j in range(n)) for i in range(n)),
        all_wrong=0.01 if boosts else 0.25,
    )


@pytest.fixture
def make() -> Callable[..., Results]:
    """make(n_seeds=1, methods=("single",)) -> Results"""
    return synthetic


@pytest.fixture
def results() -> Results:
    return synthetic()


@pytest.fixture
def timing() -> Timing:
    stages = tuple(
        StageTime(stage=s, seconds=12.5 * i, computed=i, reused=3)
        for i, s in enumerate(("prepare", "experts", "labels"))
    )
    return Timing(stages=stages, total_seconds=37.5, peak_memory_mib=900.0, tokens_read={"small": 94_400})
