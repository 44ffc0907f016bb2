"""The cells of the generation study as one page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ensemw2s.core.intervals import seed_interval

BASELINES = ("single", "independent", "bagging")
N_CONFIRMED = 2
ROWS = {
    "zero_shot": "strong model, zero-shot",
    "strong_on_easy": "strong model on easy answers",
    "self_training:xent-hard": "self-training",
    "self_training:xent-hard+easy": "self-training + easy",
    "single": "single weak expert",
    "independent": "independent ensemble",
    "bagging": "bagged ensemble",
    "boosting": "boosted ensemble",
    "single_long": "one expert at T times the budget",
    "student:single:xent-hard": "student of single",
    "student:independent:xent-hard": "student of independent",
    "student:bagging:xent-hard": "student of bagged",
    "student:boosting:xent-hard": "student of boosted",
    "student:single:xent-hard+easy": "student of single + easy",
    "student:independent:xent-hard+easy": "student of independent + easy",
    "student:bagging:xent-hard+easy": "student of bagged + easy",
    "student:boosting:xent-hard+easy": "student of boosted + easy",
    "ceiling": "ceiling",
}
GAINS = [
    ("student:boosting:xent-hard", "student:single:xent-hard"),
    ("student:boosting:xent-hard+easy", "student:single:xent-hard+easy"),
    ("student:boosting:xent-hard+easy", "strong_on_easy"),
    ("boosting", "independent"),
    ("boosting", "bagging"),
    ("boosting", "single"),
]


Key = tuple[str, str, str, int]


def key_of(cell: Mapping[str, Any]) -> Key:
    """What tells a cell from all others: phase, task, variant, seed."""
    return cell["phase"], cell["task"], cell["variant"], cell["seed"]


def read(path: Path) -> list[dict[str, Any]]:
    """The finished cells, one a line; none where there is no file yet."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def written(cells: Sequence[Mapping[str, Any]]) -> str:
    """The text that `read` reads: cells by phase (the screen first), task, variant and seed."""
    ordered = sorted(cells, key=lambda c: (c["phase"] != "screen", *key_of(c)))
    return "".join(json.dumps(cell, separators=(",", ":")) + "\n" for cell in ordered)


def screen_score(cell: Mapping[str, Any]) -> float:
    """What chooses: exact match on easy-val at the size that easy-val chose."""
    return cell["val_together"][cell["selected"] - 1]


def chosen(cells: Sequence[Mapping[str, Any]], variants: Mapping[str, Any], seeds: Sequence[int]) -> list[str]:
    """The boosted variants that are best on easy-val; none until every cell of the screen is there."""
    screen = [c for c in cells if c["phase"] == "screen"]
    if len(screen) < len(variants) * len(seeds):
        return []
    boosted = [v for v in variants if v not in BASELINES]
    total = {v: sum(screen_score(c) for c in screen if c["variant"] == v) for v in boosted}
    return sorted(boosted, key=lambda v: -total[v])[:N_CONFIRMED]


def page(
    cells: Sequence[dict[str, Any]],
    variants: Mapping[str, Any],
    screen_seeds: Sequence[int],
    confirm_seeds: Sequence[int],
    tasks: list[str],
) -> str:
    """docs/generation-study.md, up to the cells that are there."""
    screen, confirm, converged = (
        [c for c in cells if c["phase"] == phase] for phase in ("screen", "confirm", "converged")
    )
    notes = Path(__file__).with_name("generation_study_notes.md")
    lines = [
        "# Which form of token boosting boosts?",
        "",
        "Made by `python benchmarks/generation_study.py --budget 2h`, which continues from the cells in",
        f"`benchmarks/results/generation-study.jsonl` ({len(screen)} of {len(variants) * len(screen_seeds)} of the "
        f"screen, {len(confirm)} of {N_CONFIRMED * len(tasks) * len(confirm_seeds)} of the confirmation are there).",
        "",
        *([notes.read_text(encoding="utf-8").strip(), ""] if notes.exists() else []),
        "## The screen",
        "",
        f"geo-countries, seeds {', '.join(map(str, screen_seeds))}, easy validation data alone, mean over seeds; exact "
        "match in %. eps is the new expert's error under its weights, in brackets the error of the expert before it "
        "under the same weights: equal values mean that training ignored them.",
        "",
        "| variant | ensemble | T | members | log loss | prior error | eps (before) by round | alpha |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variant in variants:
        found = [c for c in screen if c["variant"] == variant]
        if found:
            lines.append(_screen_line(variant, found))
    for task in tasks:
        for variant in dict.fromkeys(c["variant"] for c in confirm if c["task"] == task):
            found = [c for c in confirm if c["task"] == task and c["variant"] == variant]
            lines += ["", f"## {task}, boosted as “{variant}”", "", *_confirmed(found)]
    for task, variant in dict.fromkeys((c["task"], c["variant"]) for c in converged):
        found = [c for c in converged if c["task"] == task and c["variant"] == variant]
        title = f"## {task}, boosted as “{variant}”, every training to its end"
        lines += ["", title, "", *_confirmed(found)]
    return "\n".join(lines).rstrip() + "\n"


def _screen_line(variant: str, found: list[dict[str, Any]]) -> str:
    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    members = [mean(column) for column in zip(*(c["val_members"] for c in found), strict=False)]
    errors = [mean(column) for column in zip(*(c["weighted_error"] for c in found), strict=False)]
    before = [mean(column) for column in zip(*(c["previous_error"] for c in found), strict=False)]
    alphas = [mean(column) for column in zip(*(c["expert_weight"] for c in found), strict=False)]
    boosted = variant not in BASELINES
    eps = ", ".join(f"{e:.2f}" + (f" ({before[i - 1]:.2f})" if i else "") for i, e in enumerate(errors))
    cells = [
        variant,
        f"{100 * mean([screen_score(c) for c in found]):.1f}",
        ", ".join(str(c["selected"]) for c in found),
        ", ".join(f"{100 * m:.0f}" for m in members),
        f"{mean([c['val_log_loss'][c['selected'] - 1] for c in found]):.2f}",
        f"{mean([c['prior_error'] for c in found]):.2f}" if boosted else "",
        eps if boosted else "",
        ", ".join(f"{a:.1f}" for a in alphas) if boosted else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _confirmed(found: list[dict[str, Any]]) -> list[str]:
    seeds = sorted(c["seed"] for c in found)
    lines = [
        f"Seeds {', '.join(map(str, seeds))}; exact match in %, mean with 95% Student-t interval over seeds.",
        *(
            f"Seed {c['seed']}: boosting refused to start, so its rows are the single expert's ({c['refused']})."
            for c in found
            if c.get("refused")
        ),
        "",
        "| row | ID | OOD |",
        "|---|---|---|",
    ]

    def values(row: str, part: str) -> list[float]:
        return [c["rows"][row][part]["accuracy"] for c in sorted(found, key=lambda c: c["seed"])]

    def shown(numbers: Sequence[float], sign: str = "") -> str:
        e = seed_interval(torch.tensor(numbers, dtype=torch.float64))
        return f"{100 * e.mean:{sign}.1f} [{100 * e.low:{sign}.1f}, {100 * e.high:{sign}.1f}]"

    rows = found[0]["rows"]
    lines += [
        f"| {label} | {shown(values(row, 'id_test'))} | {shown(values(row, 'ood_test'))} |"
        for row, label in ROWS.items()
        if row in rows
    ]
    lines += ["", "| paired difference on OOD | points |", "|---|---|"]
    for row, other in GAINS:
        if row in rows and other in rows:
            pairs = zip(values(row, "ood_test"), values(other, "ood_test"), strict=True)
            lines.append(f"| {ROWS[row]} − {ROWS[other]} | {shown([a - b for a, b in pairs], '+')} |")
    return lines
