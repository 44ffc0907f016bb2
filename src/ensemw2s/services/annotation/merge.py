"""Merging people's answers into a run folder. Refused answers are kept apart with their reasons."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ensemw2s.data.people import (
    COLUMNS,
    MERGED,
    SUMS,
    Questions,
    cell_among,
    check_file,
    people_fault,
    people_rows,
)
from ensemw2s.data.readers.stream import stream_rows
from ensemw2s.errors import ConfigError, RunError
from ensemw2s.storage.checksums import facts, facts_of
from ensemw2s.storage.files import write_atomic
from ensemw2s.storage.locks import run_lock
from ensemw2s.storage.records import json_line

PEOPLE, REFUSED = MERGED, "people-refused.jsonl"


@dataclass(frozen=True)
class Refused:
    """A row that was refused."""

    place: str
    id: str | None
    answer: str | None
    reason: str


@dataclass(frozen=True)
class Merged:
    """Numbers of rows of a merged file."""

    added: int
    unchanged: int
    """Rows merged before, or repeated in the file with the same answer."""
    replaced: int
    empty: int
    refused: tuple[Refused, ...]


def read_merged(run_dir: Path) -> dict[str, str]:
    """All merged answers of a run, by id. Raises RunError where the file is damaged."""
    path = run_dir / PEOPLE
    if fault := people_fault(path):
        raise RunError(
            f"{path}: not the answers that were merged ({fault}); move it away, with {SUMS}, and merge what you can "
            f"vouch for again: ensemw2s queue {run_dir} --merge FILE"
        )
    if not path.exists():
        return {}
    answers: dict[str, str] = {}
    for row in stream_rows(path, COLUMNS):
        name, answer = (row.columns.get(column) for column in COLUMNS)
        if row.problem or not (isinstance(name, str) and isinstance(answer, str) and name and answer):
            raise RunError(f"{row.place}: not an answer that was merged; mend or delete the line")
        answers[name] = answer
    return answers


def write_votes(run_dir: Path, output: Path) -> int:
    """Write all merged answers of a run as votes of one voter, `people`, for `task.votes`. Returns their number.

    Raises:
        ConfigError: the output is no .jsonl file.
        RunError: there are no answers, what was merged is damaged, or the file cannot be written.
    """
    if output.suffix.lower() != ".jsonl":
        raise ConfigError(f"--votes: {output} must end in .jsonl")
    answers = read_merged(run_dir)
    if not answers:
        raise RunError(f"{run_dir}: no merged answers; merge some: ensemw2s queue {run_dir} --merge FILE")
    write_atomic(output, _lines({"id": n, "voter": "people", "label": answers[n]} for n in sorted(answers)))
    return len(answers)


def merge_answers(
    run_dir: Path, answers: Path, questions: Questions, ids: set[str], *, replace: bool = False
) -> Merged:
    """Merge the answers of a file into `people.jsonl` of the run. Merging the same file again changes nothing.

    Args:
        questions: questions of the run's task.
        ids: ids of the run's unlabelled items.
        replace: whether an answer replaces a different one that was merged earlier.

    Raises:
        DataError: the file cannot be read at all, or lacks a column.
        RunError: another process works in the folder, it cannot be written, or what was merged is damaged.
    """
    file = check_file(str(answers), "--merge")
    with run_lock(run_dir, option="folder"):
        people = read_merged(run_dir)
        valid, refused, empty, repeated = _read(file, questions, ids)
        counts = {"added": 0, "unchanged": repeated, "replaced": 0}
        for name, (place, answer) in valid.items():
            before = people.get(name)
            if before is not None and before != answer and not replace:
                reason = f"{name!r} was merged earlier with the answer {before!r}; give --replace to take this one"
                refused.append(Refused(place, name, answer, reason))
                continue
            counts["added" if before is None else "unchanged" if before == answer else "replaced"] += 1
            people[name] = answer
        # Refusals first: after a kill between the two writes, merging again adds the answers.
        if refused:
            _append_refused(run_dir / REFUSED, refused)
        if counts["added"] or counts["replaced"]:
            _write(run_dir, _lines({"id": n, "answer": people[n]} for n in sorted(people)))
        return Merged(**counts, empty=empty, refused=tuple(refused))


def _read(
    file: Path, questions: Questions, ids: set[str]
) -> tuple[dict[str, tuple[str, str]], list[Refused], int, int]:
    """Valid answers (id to place and answer), refused rows, and the numbers of empty and of repeated rows."""
    rows: dict[str, list[tuple[str, str]]] = defaultdict(list)
    refused: list[Refused] = []
    empty = 0
    for row in people_rows(file):
        name = cell_among(row.columns.get("id"), ids)
        answer = cell_among(row.columns.get("answer"), questions.allowed(name or ""))
        missing = [column for column in COLUMNS if column not in row.columns]
        if row.problem or missing:
            reason = row.problem or f"there is no column {missing[0]!r}; a row has {' and '.join(COLUMNS)}"
            refused.append(Refused(row.place, name, answer, reason))
        elif not name or answer is None:
            what = "answer" if name else "id"
            refused.append(Refused(row.place, name, answer, f"expected a text as {what}, got {row.columns[what]!r}"))
        elif name not in ids:
            refused.append(Refused(row.place, name, answer, f"no unlabelled item of this run has the id {name!r}"))
        elif not answer:
            empty += 1
        elif problem := questions.problem(name, questions.spelt(name, answer)):
            refused.append(Refused(row.place, name, answer, problem))
        else:
            rows[name].append((row.place, questions.spelt(name, answer)))
    valid: dict[str, tuple[str, str]] = {}
    repeated = 0
    for name, given in rows.items():
        if len({answer for _, answer in given}) > 1:
            for place, answer in given:
                other = next(f"{a!r} ({p})" for p, a in given if a != answer)
                reason = f"{name!r} has the answer {answer!r} here and {other}; keep one of them"
                refused.append(Refused(place, name, answer, reason))
        else:
            valid[name] = given[0]
            repeated += len(given) - 1
    return valid, refused, empty, repeated


def _append_refused(path: Path, refused: list[Refused]) -> None:
    """Append refusals that the file does not have yet. A torn line is kept as it is."""
    before = path.read_bytes() if path.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    known = set(before.splitlines(keepends=True))
    new = dict.fromkeys(json_line(asdict(each)) for each in refused)
    if missing := [line for line in new if line not in known]:
        write_atomic(path, before + b"".join(missing))


def _write(run_dir: Path, content: bytes) -> None:
    """Write the answers. Checksums of both states are written first, so that a kill leaves a valid file."""
    path = run_dir / PEOPLE
    states = [facts_of(content), *([facts(path)] if path.exists() else [])]
    write_atomic(run_dir / SUMS, json.dumps({"states": states}, indent=1) + "\n")
    write_atomic(path, content)


def _lines(records: Iterable[dict[str, str]]) -> bytes:
    return b"".join(map(json_line, records))
