"""The command that writes the annotation queue and merges people's answers."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ensemw2s.cli.common import JsonOption, app, err, out, write_json
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.meter import metered
from ensemw2s.screen import say
from ensemw2s.text import shell_line

N_SHOWN = 20
"""Number of refused rows listed on the terminal; the file has all."""


@app.command(epilog="Example:  ensemw2s queue runs/demo --output queue.csv --budget 200")
def queue(
    run_dir: Annotated[Path, typer.Argument(help="A finished run.")],
    output: Annotated[
        Path | None, typer.Option(help="File to write, .csv or .jsonl, for people to fill in.", show_default=False)
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="Write for an annotation tool: label-studio (a .json of tasks, the interface beside it) or argilla (a "
            "dataset's folder).  [default: a plain file]",
            show_default=False,
        ),
    ] = None,
    merge: Annotated[
        Path | None, typer.Option(help="File that they filled in, or what the tool exported.", show_default=False)
    ] = None,
    votes: Annotated[
        Path | None,
        typer.Option(help="File to write: what was merged, as votes of one voter for task.votes.", show_default=False),
    ] = None,
    budget: Annotated[
        int | None, typer.Option(help="Items at most.  [default: all]", min=1, show_default=False)
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Whose labels.  [default: boosting, or the run's first]", show_default=False)
    ] = None,
    router: Annotated[str, typer.Option(help="What is trusted: confidence, agreement, disagreement.")] = "confidence",
    seed: Annotated[
        int | None, typer.Option(help="Whose items.  [default: the exported student's]", show_default=False)
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            help="Share of right answers on easy-val without people.  [default: the checker's]", show_default=False
        ),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            help='Have a model write a reason for each proposed answer, after this text, such as "Why could the answer '
            'be {{ answer }}? In one sentence:". A fluent reason for a wrong answer persuades, too.',
            show_default=False,
        ),
    ] = None,
    explain_by: Annotated[
        str, typer.Option(help="Who writes reasons: `strong`, the run's own before training, or a model's name.")
    ] = "strong",
    explain_both: Annotated[
        bool, typer.Option("--explain-both", help="A reason for the checker's answer, too, where it differs.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Let new answers take the place of earlier ones.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the items that people should label first, merge what they answered, or make votes of it."""
    if sum(file is not None for file in (output, merge, votes)) != 1:
        raise ConfigError(
            "queue: give one of --output (a file to write), --merge (a file that was filled in) and --votes (a file of "
            "votes to write)"
        )
    if votes is not None:
        from ensemw2s.services.annotation.merge import write_votes

        n_votes = write_votes(run_dir, votes)
        if as_json:
            write_json({"votes": n_votes})
        else:
            say(out, f"{n_votes} votes of the voter `people`: {votes}")
            say(out, f"Use them: ensemw2s run CONFIG --set task.votes={votes}")
        return
    if merge is not None:
        _merge(run_dir, merge, replace, as_json)
        return
    from ensemw2s.services.annotation.queue import Wanted, write_queue
    from ensemw2s.services.annotation.reasons import Explanation

    assert output is not None
    if explain is None and (explain_both or explain_by != "strong"):
        raise ConfigError("queue: --explain-by and --explain-both say how reasons are written; give --explain, too")
    explanation = None if explain is None else Explanation(explain, explain_by, explain_both)
    with metered(None if as_json or explain is None else err, "queue"):
        queued = write_queue(
            run_dir, output, Wanted(method, router, seed, budget, target), tool=format, explanation=explanation
        )
    bands = queued.thresholds
    if as_json:
        # JSON has no infinite numbers; an infinite threshold, which nothing reaches, is null.
        finite = {k: v if v < float("inf") else None for k, v in bands._asdict().items()} if bands else None
        facts = {"rows": queued.n_rows, "answered": queued.n_answered, "thresholds": finite, "routes": queued.counts}
        write_json(facts)
        return
    if bands is not None:
        shown = ", ".join(f"{name} {n}" for name, n in queued.counts.items())
        say(out, f"Thresholds by easy-val: t1 = {bands.accept:.3f}, t2 = {bands.check:.3f}; items: {shown}.")
    if queued.n_answered:
        say(out, f"{queued.n_answered} items that people have answered are left out.")
    say(out, f"{queued.n_rows} items, most valuable first: {output}")
    filled = "EXPORTED.json" if format else str(output)
    what = {
        None: "Fill in the column `answer`, then",
        "label-studio": f"Import it where the labelling interface is {output.with_suffix('.xml')}; export, then",
        "argilla": "Publish it (Dataset.from_disk); write what people answered to a file (records.to_json), then",
    }[format]
    say(out, f"{what}: {shell_line(['ensemw2s', 'queue', str(run_dir), '--merge', filled])}")


def _merge(run_dir: Path, answers: Path, replace: bool, as_json: bool) -> None:
    from ensemw2s.services.annotation.merge import PEOPLE, REFUSED, merge_answers
    from ensemw2s.services.annotation.queue import open_run

    run = open_run(run_dir)
    found = merge_answers(run_dir, answers, run.questions, run.ids, replace=replace)
    if as_json:
        write_json(asdict(found))
    else:
        say(
            out,
            f"{found.added} answers added, {found.replaced} replaced, {found.unchanged} known already, {found.empty} "
            f"left empty, {len(found.refused)} refused: {run_dir / PEOPLE}",
        )
        say(out, f"Use them: ensemw2s run CONFIG --set students.people={run_dir / PEOPLE}")
    if found.refused:
        for row in found.refused[:N_SHOWN]:
            say(err, f"{row.place}: {row.reason}")
        if (more := len(found.refused) - N_SHOWN) > 0:
            say(err, f"and {more} more")
        say(err, f"Refused rows with their reasons: {run_dir / REFUSED}")
        raise typer.Exit(DataError.exit_code)
