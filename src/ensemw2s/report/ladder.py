"""The ladder of a replication as a table for a terminal and as Markdown."""

from collections.abc import Iterator, Sequence
from statistics import mean

from rich.table import Table
from rich.text import Text

from ensemw2s.report.table import points, shown
from ensemw2s.results.ladder import Gain, Ladder, LadderRung
from ensemw2s.text import markdown as as_markdown

PUBLISHED = "as published: nothing below is undone yet"
PARTS = {"id_test": "ID", "ood_test": "OOD"}


def terminal_table(ladder: Ladder) -> Table:
    """The gain at each rung, for a terminal of 80 columns; the hardest test first."""
    table = Table(
        title=shown(f"{ladder.name}: boosted minus single, points of {ladder.metric}"),
        caption="\n".join(_legend(ladder)),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("each rung undoes one choice", overflow="fold")
    for column in ("ensembles", "students"):
        table.add_column(column, justify="right", no_wrap=True)
    for part in reversed([gain.part for gain in ladder.rungs[0].gains if gain.of == "student"]):
        table.add_section()
        table.add_row(Text(f"{PARTS[part]} test", style="dim"))
        for number, rung in enumerate(ladder.rungs):
            gains = [gain for gain in rung.gains if gain.part == part]
            table.add_row(shown(_words(number, rung)), *("\n".join(_cell(gain, rung, ladder)) for gain in gains))
    return table


def markdown(ladder: Ladder) -> str:
    """The gains, and the accuracies and sizes that they are made of."""
    titles = [_title(gain) for gain in ladder.rungs[0].gains]
    gains = [
        [_words(n, rung), *(" ".join(_cell(gain, rung, ladder)) for gain in rung.gains)]
        for n, rung in enumerate(ladder.rungs)
    ]
    made_of = [[_words(n, rung), *(_made_of(gain, rung) for gain in rung.gains)] for n, rung in enumerate(ladder.rungs)]
    parts = [
        f"# {as_markdown(ladder.name)}: the published claim, step by step",
        as_markdown(f"Weak: {ladder.weak}. Strong: {ladder.strong}. Seeds: {', '.join(map(str, ladder.seeds))}."),
        as_markdown(f"Boosted minus single, points of {ladder.metric}. " + " ".join(_legend(ladder))),
        _table(["rung", *titles], gains),
        as_markdown("Accuracies in %, boosted and single, and T of the boosted side; means over the reported seeds."),
        _table(["rung", *titles], made_of),
        *(as_markdown(f"- {sentence}") for sentence in sentences(ladder)),
    ]
    return "\n\n".join(parts) + "\n"


def sentences(ladder: Ladder) -> list[str]:
    """Which rungs are not there."""
    return [f"Left out, since it changes nothing here: {change}." for change in ladder.left_out]


def _legend(ladder: Ladder) -> list[str]:
    lines = ["In square brackets: 95% intervals over the reported seeds and items."]
    if any(rung.n_seeds < len(ladder.seeds) for rung in ladder.rungs):
        first = ladder.seeds[0]
        lines.append(f"Before every seed counts: seed {first}'s, in round brackets the range over all.")
    return lines


def _title(gain: Gain) -> str:
    return f"{'ensembles' if gain.of == 'ensemble' else 'students'} {PARTS[gain.part]}"


def _words(number: int, rung: LadderRung) -> str:
    return f"{number} {rung.change or PUBLISHED}"


def _cell(gain: Gain, rung: LadderRung, ladder: Ladder) -> Iterator[str]:
    """Mean with interval, and the range over seeds where only some are reported."""
    yield points(gain.difference)
    if rung.n_seeds < len(ladder.seeds):
        # Rounded as the mean is: 8.95 and 8.950000000000001 are shown alike.
        each = [round(100 * (a - b), 6) for a, b in zip(gain.boosted, gain.single, strict=True)]
        yield f"({min(each):+.1f} to {max(each):+.1f})"


def _made_of(gain: Gain, rung: LadderRung) -> str:
    boosted, single = (100 * mean(side[: rung.n_seeds]) for side in (gain.boosted, gain.single))
    return f"{boosted:.1f} and {single:.1f}, T {mean(gain.n_experts[: rung.n_seeds]):.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(as_markdown, line)) + " |" for line in lines)
