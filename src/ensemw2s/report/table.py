"""The table of a run, for the report and for a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from rich import box
from rich.table import Table
from rich.text import Text

from ensemw2s.report.trainings import MEANING, mark
from ensemw2s.results import Comparison, Figure, Interval, Results, Row, RunComparison
from ensemw2s.results.conditions import STRONG_ON_EASY
from ensemw2s.results.picks import main_rows
from ensemw2s.text import visible

KINDS = {
    "baseline": "Baselines",
    "ensemble": "Weak supervisors",
    "student": "Students of weak labels",
    "shown": "Shown weak labels, not trained",
    "ceiling": "Ceiling",
}


@dataclass(frozen=True)
class Line:
    """One row of the table, as text."""

    row: Row
    val: str
    id_test: str
    ood_test: str
    hardest: Interval
    """On the hardest test, by which the run is judged."""
    seeds: str
    """The least and the largest seed on that test."""
    balanced: str
    """Balanced accuracy on that test; empty where the classes are nearly balanced."""
    n_experts: str
    tokens: str
    evaluations: str
    flops: str
    recommended: bool
    mark: str
    """Empty, or that a model of the row did not converge."""

    @property
    def key(self) -> str:
        return self.row.key

    @property
    def label(self) -> str:
        return self.row.label


def leaderboard(results: Results) -> list[Line]:
    """All rows, grouped by kind in the order of KINDS."""
    return [_line(row, results) for kind in KINDS for row in results.rows if row.kind == kind]


def main_lines(results: Results) -> list[Line]:
    """The rows that a reader compares first, in the order of the table."""
    main = {row.key for _, row in main_rows(results)}
    return [line for line in leaderboard(results) if line.key in main]


def distances(results: Results) -> list[tuple[Comparison, str]]:
    """Paired differences to strong-on-easy and to the single weak expert's student, each with its row's label.

    They are on the hardest test, by which the run is judged.
    """
    rows = {row.key: row for row in results.rows}

    def is_plain(key: str) -> bool:
        condition = rows[key].condition
        return condition == STRONG_ON_EASY or condition.teacher == "single"

    judged = [c for c in results.comparisons if c.part == results.hardest_test]
    return [(c, rows[c.row].label) for c in judged if is_plain(c.baseline)]


def percent(interval: Interval) -> str:
    """An accuracy as "71.2 [69.8, 72.5]"."""
    return f"{100 * interval.mean:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def points(interval: Interval) -> str:
    """A difference of accuracies as "+1.2 [-0.3, +2.5]"."""
    return f"{100 * interval.mean:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def short(number: int | float) -> str:
    """A number with three digits and a suffix: 1.23M, 456k."""
    for size, suffix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{suffix}"
    return f"{number:.0f}"


def shown(text: str) -> Text:
    """Text of a cell or title in a terminal, with control characters escaped."""
    return Text(visible(text))


def terminal_table(results: Results) -> Table:
    """The table for a terminal of 80 columns, with the recommended row in bold; the report has more columns."""
    table = Table(
        title=shown(f"{results.name}: {results.metric} in %, 95% intervals over {_seeds(results)}"),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("row", overflow="fold")
    lines, has_ood = leaderboard(results), results.hardest_test == "ood_test"
    if any(line.mark for line in lines):
        table.caption = MEANING
    for column in ("ID", *(["OOD"] if has_ood else []), "tokens", "FLOPs"):
        table.add_column(column, justify="right", no_wrap=True)
    kind = ""
    for line in lines:
        if line.row.kind != kind:
            kind = line.row.kind
            table.add_section()
            table.add_row(Text(KINDS[kind], style="dim"))
        style = "bold green" if line.recommended else ""
        label = line.label.removeprefix("student of the ")  # stated in the section's title
        tests = (line.id_test.partition(" ")[0], line.ood_test) if has_ood else (line.id_test,)
        cells = (label + line.mark, *tests, line.tokens, line.flops)
        table.add_row(*map(shown, cells), style=style)
    return table


def comparison_table(comparison: RunComparison) -> Table:
    """Table of several runs for a terminal of 80 columns, each with its paired difference to the first run."""
    metrics = " or ".join(sorted({line.metric for line in comparison.lines}))
    table = Table(
        title=shown(f"OOD {metrics} in %, 95% intervals; difference: recommended rows, paired by seed"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption_justify="left",
    )
    why = [f"{p.first} minus {p.second}: not known, {p.reason}" for p in comparison.pairs if p.difference is None]
    table.caption = shown("; ".join(why))
    table.add_column("run", overflow="fold")
    table.add_column("row", overflow="fold")
    table.add_column("OOD", justify="right", no_wrap=True)
    table.add_column("minus the first", justify="right", no_wrap=True)
    differences = {pair.first: pair.difference for pair in comparison.pairs}
    for line, name in zip(comparison.lines, _short_names([line.run for line in comparison.lines]), strict=True):
        difference = differences.get(line.run)
        for key, label in line.labels.items():
            is_first = key == line.row
            run = f"{name} ({line.n_seeds} seed{'' if line.n_seeds == 1 else 's'})" if is_first else ""
            accuracy = percent(line.accuracy[key]) if key in line.accuracy else "unknown"
            distance = points(difference) if is_first and difference is not None else ""
            table.add_row(*map(shown, (run, label, accuracy, distance)), style="bold" if is_first else "")
        table.add_section()
    return table


def _short_names(folders: Sequence[str]) -> list[str]:
    """Of folders, their last names where these tell them apart."""
    names = [PurePath(folder).name for folder in folders]
    return names if len(set(names)) == len(names) and all(names) else list(folders)


def seed_range(figure: Figure) -> str:
    """The least and the largest of the seeds, as "70.1–73.9"; empty for one seed."""
    low, high = min(figure.per_seed), max(figure.per_seed)
    return f"{100 * low:.1f}–{100 * high:.1f}" if len(figure.per_seed) > 1 else ""


def _sizes(n_experts: tuple[int, ...]) -> str:
    """Ensemble size over seeds: "3", or "2–8, mean 4.5" where seeds chose different sizes."""
    if len(set(n_experts)) < 2:
        return str(n_experts[0]) if n_experts else ""
    return f"{min(n_experts)}–{max(n_experts)}, mean {sum(n_experts) / len(n_experts):.1f}"


def _seeds(results: Results) -> str:
    return "1 seed" if len(results.seeds) == 1 else f"{len(results.seeds)} seeds"


def _line(row: Row, results: Results) -> Line:
    tests = {part: row.parts[part]["accuracy"].interval for part in ("id_test", "ood_test") if part in row.parts}
    balanced = row.parts[results.hardest_test].get("balanced_accuracy")
    return Line(
        row=row,
        val=f"{100 * row.parts['easy_val']['accuracy'].interval.mean:.1f}",
        id_test=percent(tests["id_test"]),
        ood_test=percent(tests["ood_test"]) if "ood_test" in tests else "unknown",
        hardest=tests[results.hardest_test],
        seeds=seed_range(row.parts[results.hardest_test]["accuracy"]),
        balanced=percent(balanced.interval) if balanced else "",
        n_experts=_sizes(row.n_experts),
        tokens=short(row.cost.training_tokens),
        evaluations=short(row.cost.expert_evaluations),
        flops=short(row.cost.flops),
        recommended=row.key == (results.recommendation.rival or results.recommendation.row),
        mark=mark(row),
    )
