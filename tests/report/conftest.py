"""A synthetic run with every kind of row, curve and note that a page can show; no model and no training."""

import random
from collections.abc import Callable

import pytest

from ensemw2s.report.page import render
from ensemw2s.results import (
    AnswerSample,
    BudgetCurve,
    BudgetPoint,
    Comparison,
    Condition,
    Confusion,
    Cost,
    DifficultyBin,
    DifficultyCurve,
    EnsembleTrace,
    Figure,
    Interval,
    Item,
    Items,
    LabelledText,
    Mending,
    PerturbedTest,
    Pgr,
    PoolMember,
    Recommendation,
    Reliability,
    ReliabilityBin,
    Results,
    Robustness,
    Round,
    Row,
    StageTime,
    TaskInfo,
    Timing,
    TokenShare,
    TokenWeights,
    Voter,
    Voters,
)
from ensemw2s.results.conditions import CEILING, SELF, STRONG_ON_EASY, ZERO_SHOT, ensemble, student
from ensemw2s.training_end import TrainingEnd

METHODS = {
    "single": "single weak expert",
    "independent": "independent ensemble",
    "bagging": "bagged ensemble",
    "boosting": "boosted ensemble",
}
RECIPES = {
    "xent-soft": "trained on soft labels",
    "xent-soft+easy": "trained on soft labels, with the easy labels",
    "logconf-soft": "trained on soft labels, log-confidence loss",
}
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

    def row(
        condition: Condition, label: str, ood: float, n_experts: tuple[int, ...] = (), recipe: str | None = None
    ) -> Row:
        how = "" if recipe is None else RECIPES[recipe]
        label = f"{label}, {how}" if how else label
        parts = {p: {"accuracy": figure(ood + shift)} for p, shift in zip(PARTS, (0.08, 0.05, 0.0), strict=True)}
        cost = Cost(training_tokens=1_234_567, expert_evaluations=62_400, flops=8.02e12)
        key, kind = condition.key, condition.group
        return Row(
            key=key, condition=condition, label=label, how=how, kind=kind, parts=parts, cost=cost, n_experts=n_experts
        )

    sizes = {m: tuple(1 if m == "single" else rng.randint(2, N_ROUNDS) for _ in seeds) for m in methods}
    rows = [
        row(ZERO_SHOT, "strong model, zero-shot", 0.5),
        row(STRONG_ON_EASY, "strong model on easy labels", 0.6),
        *(row(student(SELF, r), "self-trained strong model", 0.6, recipe=r) for r in RECIPES),
        *(row(ensemble(m), METHODS[m], 0.6, sizes[m]) for m in methods),
        *(row(student(m, r), f"student of the {METHODS[m]}", 0.62, sizes[m], r) for m in methods for r in RECIPES),
        row(CEILING, "ceiling", 0.7),
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
            easy_example=LabelledText(text="Is Paris above Lyon?", label="yes"),
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
            row=students[-1].key,
            headline="Use the last student: 62.0% right on the hard test.",
            details=("That is +2.0 points against strong-on-easy.",),
            is_baseline=False,
            seed=100,
        ),
        items=Items(
            method=methods[-1],
            student=students[-1].key,
            n_items=800,
            counts={"mended": 30, "broken": 20, "disagree": 90},
            items=tuple(item(i) for i in range(60)),
        ),
        mending=tuple(
            Mending(
                row=row.key,
                labels_right=interval(0.7),
                mended=interval(0.3 + 0.01 * i),
                broken=interval(0.1),
                net=interval(0.02),
                n_wrong=240,
            )
            for i, row in enumerate(students)
        ),
        perturbed=tuple(
            PerturbedTest(perturbation=name, part="ood_test", n_changed=n, n_others=900 - n)
            for name, n in (("typos", 900), ("accents", 850))
        ),
        robustness=tuple(
            Robustness(
                row=row.key,
                perturbation=name,
                part="ood_test",
                accuracy=figure(0.55),
                drop=interval(0.05),
                beyond_teacher=interval(-0.01) if row.kind == "student" else None,
            )
            for row in rows
            for name in ("typos", "accents")
        ),
        notes=("Both models are depths of one network.",),
    )


def item(i: int) -> Item:
    """An item that the student mends, breaks or leaves as it is, in turn."""
    label, student_says = (("no", "yes"), ("yes", "no"), ("yes", "yes"))[i % 3]
    return Item(
        id=f"q{i}",
        text=f"Has town {i} more people than its neighbour?",
        label=label,
        members=("yes", "no", label),
        votes={"rule": "yes"},
        on_easy="yes",
        student=student_says,
        truth="yes",
        is_right=label == "yes",
        student_is_right=student_says == "yes",
        kinds=((("mended",), ("broken",), ())[i % 3]) + ("disagree",),
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


@pytest.fixture(scope="session")
def make() -> Callable[..., Results]:
    """make(n_seeds=1, methods=("single",)) -> Results"""
    return synthetic


@pytest.fixture(scope="session")
def results() -> Results:
    return synthetic()


@pytest.fixture(scope="session")
def page(results, timing) -> str:
    """The synthetic run's page, made once: most of what it takes are its charts."""
    return render(results, timing)


@pytest.fixture
def crowded() -> Results:
    """20 uneven classes with long names, outside voters, a pool, answers in words: whatever needs room."""
    results, choices = synthetic(), tuple(f"class {k} of a long name" for k in range(20))
    balanced = Figure(per_seed=(0.5,) * 3, interval=interval(0.512))
    rows = tuple(
        row.model_copy(update={"parts": {p: f | {"balanced_accuracy": balanced} for p, f in row.parts.items()}})
        for row in results.rows
    )
    counts = tuple(tuple(30 if i == j else (i + j) % 5 for j in range(20)) for i in range(20))
    share = interval(0.7)
    voter = Voter(
        name="a rule by somebody",
        basis="labelled examples",
        reliability=share,
        weight=1.2,
        n_easy=200,
        n_votes=790,
        coverage=0.99,
        accuracy=share,
    )
    end = TrainingEnd("stopped_early", True, 120, 24, 22, 0.25, 0.9, 0.5, 24)
    rows = tuple(row.model_copy(update={"trainings": (end,) * 3}) for row in rows)
    sample = AnswerSample(
        question="Which river runs through Vienna? " * 4,
        truth="Danube",
        answer="Danube",
        members=("Danube", "Rhine", "Danube"),
        is_right=True,
        tokens=(" Dan", "ube"),
        probabilities=(0.9, 0.8, 0.99),
    )
    weights = TokenWeights(seed=100, round=1, tokens=(TokenShare(token=" the", share=0.2, uniform=0.1),) * 8)
    accuracy, taken = dict.fromkeys(PARTS, 0.6), dict.fromkeys(METHODS, 7)
    member = PoolMember(name="all-minilm-l6-v2", what="first 6 layers", accuracy=accuracy, taken=taken)
    return results.model_copy(
        update={
            "rows": rows,
            "task": results.task.model_copy(update={"choices": choices}),
            "confusion": tuple(Confusion(row=curve.row, counts=counts) for curve in results.difficulty),
            "voters": Voters(
                method="boosting", voters=(voter,) * 2, coverage=0.9, models_right=share, joined_right=share
            ),
            "samples": (sample,) * 3,
            "token_weights": (weights,),
            "pool": (member,) * 2,
            "recommendation": results.recommendation.model_copy(update={"is_baseline": True}),
        }
    )


@pytest.fixture(scope="session")
def timing() -> Timing:
    stages = tuple(
        StageTime(stage=s, seconds=12.5 * i, computed=i, reused=3)
        for i, s in enumerate(("prepare", "experts", "labels"))
    )
    return Timing(stages=stages, total_seconds=37.5, peak_memory_mib=900.0, tokens_read={"small": 94_400})
