"""What of the prompts of a user's rows may be worded otherwise: named columns, through the template once more."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from ensemw2s.data.own.rows import beside, own_name, own_pair
from ensemw2s.data.readers.load import read_rows
from ensemw2s.data.tasks.files import Files
from ensemw2s.data.templates.template import Template, no_column, template
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Wording


def wordings(config: Files, examples: Sequence[Example], columns: Sequence[str], section: str) -> list[Wording]:
    """The columns' texts of each example of the labelled file or of the test's; the rest of its prompt stays.

    Args:
        section: of the settings that name the columns.

    Raises:
        DataError: the template has no such column; or it has several, and none is named.
    """
    prompt, wanted = template(config.prompt), {example.id for example in examples}
    changed = _changed(config, prompt, columns, section)
    rows = {prefix + name: (name, place, row) for prefix, name, place, row in _rows(config) if prefix + name in wanted}
    found: list[Wording] = []
    for example in examples:
        name, place, row = rows[example.id]
        row = row | beside(own_pair(config, place, row, name), example.choices if config.options else None)
        own = [column for column in changed if isinstance(row[column], str)]
        texts = tuple(row[column] for column in own)
        found.append(Wording(texts, partial(_rendered, prompt, place, row, own)))
    return found


def _rendered(prompt: Template, place: str, row: dict[str, Any], columns: Sequence[str], texts: Sequence[str]) -> str:
    return prompt.render(place, row | dict(zip(columns, texts, strict=True)))


def _rows(config: Files) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Of the rows that may be in a test: what their ids begin with, their own name, place and columns."""
    files = [(config.path, config.split, "")]
    files += [(config.test, config.test_split, "test/")] if config.test else []
    for path, split, prefix in files:
        for number, (place, row) in enumerate(read_rows(path, split=split), start=1):
            yield prefix, own_name(config, number, place, row), place, row


def _changed(config: Files, prompt: Template, columns: Sequence[str], section: str) -> list[str]:
    # Options, and an answer that is asked about, decide what the true answer is.
    decide = (
        {"candidate", "other"} if config.right else {"options", *(column.split(".")[0] for column in config.options)}
    )
    decide = decide if config.right or config.options else set()
    free = [column for column in prompt.columns if column not in decide]
    for column in columns:
        if column in decide:
            raise DataError(
                f"{section}.perturb_columns: {column!r} is among what a question can be answered with, and is never "
                "perturbed; leave it out"
            )
        if column not in prompt.columns:
            raise DataError(f"{section}.perturb_columns: {no_column(column, prompt.columns, 'the prompt template')}")
    if not columns and len(free) != 1:
        raise DataError(
            f"{section}.perturb: the prompt template shows the columns {', '.join(map(repr, free))}; name those that "
            f"may be worded otherwise in {section}.perturb_columns"
        )
    return list(columns) or free
