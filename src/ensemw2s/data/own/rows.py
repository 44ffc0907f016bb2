"""Rows of a user's files as examples, through a prompt template and named columns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ensemw2s.data.own.cells import name_of, number_of, value_of
from ensemw2s.data.own.labels import (
    choices_notes,
    contradictions,
    label_texts,
    merged_classes,
    spelling_notes,
    spelt_as,
    unknown_answer,
    unlabelled_note,
    without_unknown,
)
from ensemw2s.data.own.leaks import leaking, read_by
from ensemw2s.data.own.options import chosen, letters_of, options_of, places_of
from ensemw2s.data.own.pairs import Pair, pair_of
from ensemw2s.data.readers.load import Row, read_rows
from ensemw2s.data.tasks.files import Files
from ensemw2s.data.templates.template import template
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task
from ensemw2s.pictures import folder_of, placed

Placed = tuple[str, Example]
"""An example with its place in the file."""
PAIR_CHOICES = ("no", "yes")
"""Classes of `right` and `wrong`, where none are given."""


def load_files(config: Files) -> Task:
    """Read `config.path`, and the unlabelled and the test questions where they have files of their own.

    Rows without a label are left out of the labelled files, and spellings of one class are one; `Task.notes` says so.

    Raises:
        DataError: a column is missing, a value empty or of the wrong type, an answer unknown, an id used twice, or no
            row has a label.
    """
    labelled = _labelled(config, config.path, config.split, "", config.choices)
    test = _Labelled()
    if config.test:
        test = _labelled(config, config.test, config.test_split, "test/", config.choices or labelled.labels)
    unlabelled = _unlabelled(config, config.unlabelled, config.choices or labelled.labels) if config.unlabelled else []
    both = [*labelled.examples, *test.examples]
    notes = [*labelled.notes, *test.notes]
    if config.answer_form == "free":
        choices = tuple(sorted({e.answer for _, e in (*both, *unlabelled) if e.answer is not None}))
    else:
        counts = Counter(e.answer for _, e in both if e.answer is not None)
        choices, class_of = _classes(config, counts, [e.answer for _, e in labelled.examples if e.answer is not None])
        notes += choices_notes(choices) if config.choices else []
        for each in (labelled, test):
            each.examples = [(p, _classed(p, e, choices, class_of, config.answer)) for p, e in each.examples]
        # Sealed answers have no part in what the classes are, nor in the notes.
        sealed = {e.answer for _, e in unlabelled if e.answer is not None}
        spelt = {answer: choice for answer in sealed if (choice := spelt_as(answer, choices)) is not None}
        unlabelled = [(p, _classed(p, e, choices, spelt, config.answer)) for p, e in unlabelled]
        notes += spelling_notes(config.answer, counts, class_of)
    notes += contradictions(
        (place, f"{e.prompt}\x1f{e.choices if config.options else ''}", e.answer)
        for place, e in (*labelled.examples, *test.examples)
        if e.answer is not None
    )
    notes += _leaks(config, labelled)
    meaning = f"the column {config.difficulty!r}" if config.difficulty else "not given"
    return Task(
        config.path,
        tuple(e for _, e in labelled.examples),
        choices,
        f"your own data, {', '.join(name for name in (config.path, config.unlabelled, config.test) if name)}",
        "0 for the labelled file, 1 for the others" if config.unlabelled else meaning,
        answer_form=config.answer_form,
        unlabelled=tuple(e for _, e in unlabelled),
        test=tuple(e for _, e in test.examples),
        notes=tuple(notes),
    )


def labels_of(rows: Sequence[Row], config: Files, classes: Sequence[str] = ()) -> list[str | None]:
    """The label of each row as its column has it, None where there is none.

    Args:
        classes: the labels that are known to be some: -1 may be one of them.

    Raises:
        DataError: the column is missing, or a cell of it holds no label (`data.labels.label_texts`).
    """
    cells = [(place, value_of(place, row, config.answer, "task.answer")) for place, row in rows]
    # With classes that the user gave, a boolean among texts is no slip.
    labels = label_texts(cells, config.answer, may_be_boolean=bool(config.choices))
    is_number = config.answer_form == "free" and config.answer_as == "text"
    return labels if is_number else without_unknown(labels, classes)


@dataclass
class _Labelled:
    """A labelled file: the rows that have a label, as examples."""

    rows: list[Row] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    """As the column has them."""
    examples: list[Placed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _labelled(config: Files, path: str, split: str, prefix: str, classes: Sequence[str]) -> _Labelled:
    rows = read_rows(path, split=split)
    if config.right:
        numbered = [(i, *row, None) for i, row in enumerate(rows, start=1)]
        return _Labelled(rows, [], _examples(config, path, numbered, prefix))
    labels = labels_of(rows, config, classes)
    known = [(i, *row, label) for i, (row, label) in enumerate(zip(rows, labels, strict=True), start=1) if label]
    if not known:
        raise DataError(
            f"{path}: no row has a label in the column {config.answer!r} (empty, null, NaN and -1 are none); name the "
            "column of the answers with task.answer"
        )
    notes = unlabelled_note(path, config.answer, [place for place, _ in rows], labels)
    return _Labelled(
        [rows[i - 1] for i, *_ in known], [label for *_, label in known], _examples(config, path, known, prefix), notes
    )


def _unlabelled(config: Files, path: str, classes: Sequence[str]) -> list[Placed]:
    """The unlabelled file, with the answers that are to be sealed where the settings say that it has them."""
    rows = read_rows(path, split=config.unlabelled_split)
    labels = [None] * len(rows) if config.unlabelled_answers == "ignored" else labels_of(rows, config, classes)
    lacking = [place for (place, _), label in zip(rows, labels, strict=True) if label is None]
    if lacking and config.unlabelled_answers == "sealed":
        raise DataError(
            f"{lacking[0]}: no answer in the column {config.answer!r}, which {len(lacking):,} of {len(rows):,} rows "
            "lack, and task.unlabelled_answers: sealed needs them all; fill them in, delete these rows, or leave it out"
        )
    numbered = [(i, *row, label) for i, (row, label) in enumerate(zip(rows, labels, strict=True), start=1)]
    return _examples(config, path, numbered, "unlabelled/")


def _examples(
    config: Files, path: str, rows: Sequence[tuple[int, str, dict[str, Any], str | None]], prefix: str
) -> list[Placed]:
    """Rows of one file as examples, each with its place; `prefix` tells its ids from those of other files.

    Args:
        path: of the file, from whose folder on pictures are looked for.
        rows: number in the file, place, columns and label.
    """
    folder = folder_of(path)
    prompt = template(config.prompt)
    examples: list[Placed] = []
    seen: dict[str, str] = {}
    unread: list[DataError] = []
    for number, place, row, label in rows:
        name = own_name(config, number, place, row)
        if name in seen:
            raise DataError(f"{place}: the id {name!r} was used before, at {seen[name]}; ids must be unique")
        seen[name] = place
        options, answer = option_named(place, row, label, config)
        pair = own_pair(config, place, row, name)
        if pair is not None:
            answer = (config.choices or PAIR_CHOICES)[pair.is_right]
        shown = beside(pair, options)
        group = name_of(place, row, config.group, "task.group") if config.group else prefix + name
        difficulty = number_of(place, row, config.difficulty) if config.difficulty else None
        try:
            text = placed(prompt.render(place, row | shown), folder, place)
        except DataError as error:
            unread.append(error)
            continue
        examples.append((place, Example(prefix + name, group, text, options, answer, difficulty)))
    if unread:
        raise DataError(f"{unread[0]} ({len(unread):,} of {len(rows):,} rows have no prompt)")
    return examples


def own_name(config: Files, number: int, place: str, row: dict[str, Any]) -> str:
    """The id of a row among those of its file. Raises DataError where its column has none."""
    return name_of(place, row, config.id, "task.id") if config.id else f"row-{number}"


def own_pair(config: Files, place: str, row: dict[str, Any], name: str) -> Pair | None:
    """A row's right answer with a wrong one, where the settings name columns of these. Raises as `pair_of`."""
    return pair_of(place, row, config.right, config.wrong, seed=config.seed, name=name) if config.right else None


def beside(pair: Pair | None, options: tuple[str, ...] | None) -> dict[str, Any]:
    """What the template reads beside a row's columns."""
    if pair is not None:
        return {"candidate": pair.candidate, "other": pair.other}
    return {} if options is None else {"options": list(options)}


def option_named(
    place: str, row: Mapping[str, Any], label: str | None, config: Files
) -> tuple[tuple[str, ...] | None, str | None]:
    """The options of a question, where it has its own, and the answer that its label means.

    Raises:
        DataError: the options cannot be read, or the label names none of them, or an empty one.
    """
    if not config.options:
        if label is None or config.answer_as == "text":
            return None, label
        return None, chosen(place, config.answer, label, config.choices, config.answer_as)
    places = places_of(place, row, config.options)
    options = options_of(places)
    if label is None:
        return options, None
    letters = letters_of(row, config.options, places)
    return options, chosen(place, config.answer, label, places, config.answer_as, letters)


def _classes(
    config: Files, counts: Mapping[str, int], labelled: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The classes, and which of them each spelling of a label means; one that means none is not there."""
    if config.right:
        choices = config.choices or PAIR_CHOICES
        return choices, {choice: choice for choice in choices}
    merged = merged_classes(labelled)
    choices = config.choices or tuple(sorted(set(merged.values())))
    found = {label: spelt_as(label, choices) for label in counts}
    return choices, {label: choice for label, choice in found.items() if choice is not None}


def _classed(
    place: str, example: Example, choices: tuple[str, ...], class_of: Mapping[str, str], column: str
) -> Example:
    """The example with the classes, which its answer is among."""
    if example.answer is not None and example.answer not in class_of:
        raise unknown_answer(place, column, example.answer, choices)
    return replace(example, choices=choices, answer=example.answer and class_of[example.answer])


def _leaks(config: Files, labelled: _Labelled) -> list[str]:
    """A sentence where the prompt shows what gives the answer away."""
    prompt = template(config.prompt)
    rows = [row for _, row in labelled.rows]
    answers = [str(e.answer) for _, e in labelled.examples]
    columns = [column for column in prompt.columns if column not in config.options]
    names = [] if config.right else leaking(rows, labelled.labels, answers, columns)
    return [
        f"the prompt shows {name!r}, which gives the answer away: it tells {config.answer!r} of nearly every labelled "
        "row; leave it out of task.prompt, unless it will be known of new questions, too"
        for name in read_by(prompt, rows, names)
    ]
