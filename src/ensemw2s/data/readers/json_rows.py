"""Rows of JSON, streamed: one object to a line, or one array of objects."""

import json
from collections.abc import Iterator

from ensemw2s.data.readers.rows import ROW_BYTES, BadRow, StreamedRow, check_row, not_utf8
from ensemw2s.data.readers.source import Lines, Source
from ensemw2s.errors import DataError

CHUNK = 2**16
"""Number of characters of an array read at a time."""
UNFINISHED = 16
"""A parse error this close to the end of the buffer may be due to a token that is cut; no JSON keyword is longer."""


def json_rows(source: Source, name: str) -> Iterator[StreamedRow]:
    """Rows of a file of JSON Lines or of an array of objects, whatever its suffix.

    Raises:
        DataError: an array breaks, so that nothing after that place can be read.
    """
    if source.head.lstrip().startswith("["):
        return _items(source, name)
    return _lines(source, name)


def _lines(source: Source, name: str) -> Iterator[StreamedRow]:
    lines = Lines(source.text, name)
    number = 0
    while True:
        row, problem = None, ""
        try:
            line = next(lines)
            if line.isspace():
                continue
            row = _parsed(line.rstrip("\r\n"))
        except StopIteration:
            return
        except BadRow as error:
            problem = str(error)
        number += 1
        yield StreamedRow(number, f"{name}:", lines.number, row or {}, problem, source.done)


def _parsed(line: str) -> dict[str, object]:
    if (fault := not_utf8(line)) is not None:
        raise fault
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        mend = "mend or delete the line"
        if line.lstrip().startswith("{") and error.pos >= len(line.rstrip()):
            mend = "an object must end on its line, or stand in an array [...] of objects; " + mend
        raise BadRow(f"not valid JSON at column {error.colno} ({error.msg}); {mend}") from None
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, brackets in the thousands
        raise BadRow(f"JSON that cannot be read ({error}); mend or delete the line") from None
    return _object(row)


def _object(row: object) -> dict[str, object]:
    if not isinstance(row, dict):
        raise BadRow(f'expected an object like {{"prompt": ...}}, got {type(row).__name__}; mend the row')
    return check_row(row)


def _items(source: Source, name: str) -> Iterator[StreamedRow]:
    window = _Window(source, name)
    window.take("[")
    number = 0
    while window.next_character() != "]":
        if number:
            window.take(",")
            if window.next_character() == "]":
                raise window.error("a comma before the end of the array")
        number += 1
        value, text = window.value(number)
        row, problem = {}, ""
        try:
            if (fault := not_utf8(text)) is not None:
                raise fault
            row = _object(value)
        except BadRow as error:
            problem = str(error)
        yield StreamedRow(number, f"{name} item ", number, row, problem, source.done)
    window.take("]")
    if window.next_character():
        raise window.error("something stands after the end of the array")


class _Window:
    """Buffer over the part of an array that is being read."""

    def __init__(self, source: Source, name: str):
        self._text = source.text
        self._name = name
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._at = 0
        self._line = self._column = 1
        """Line number of the beginning of the buffer."""
        self._is_ended = False

    def next_character(self) -> str:
        """Next character that is not a space, without consuming it; empty at the end."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._buffer) or self._is_ended:
                return self._buffer[self._at : self._at + 1]
            self._read()

    def take(self, character: str) -> None:
        if self.next_character() != character:
            raise self.error(f"expected {character!r}")
        self._at += 1

    def value(self, number: int) -> tuple[object, str]:
        """The next item with its text."""
        self.next_character()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
                if end < len(self._buffer) or self._is_ended:
                    text, self._at = self._buffer[self._at : end], end
                    return value, text
            except json.JSONDecodeError as error:
                may_go_on = error.msg.startswith("Unterminated") or error.pos >= len(self._buffer) - UNFINISHED
                if self._is_ended or not may_go_on:
                    is_cut = error.msg.startswith("Unterminated") or error.pos >= len(self._buffer.rstrip())
                    self._at = error.pos
                    raise self.error(f"the file is cut: {error.msg}" if is_cut else error.msg) from None
            except (ValueError, RecursionError) as error:
                raise DataError(f"{self._name} item {number}: JSON that cannot be read ({error}); mend it") from None
            if len(self._buffer) - self._at > ROW_BYTES:
                raise DataError(f"{self._name} item {number}: longer than {ROW_BYTES:,} bytes; shorten or delete it")
            self._read()

    def error(self, reason: str) -> DataError:
        line, column = self._place()
        if self._is_ended and self._at >= len(self._buffer.rstrip()):
            reason = "the array does not end"
        return DataError(f"{self._name} line {line}: not valid JSON at column {column} ({reason}); mend that line")

    def _place(self) -> tuple[int, int]:
        """Line and column of the next character."""
        n_lines = self._buffer.count("\n", 0, self._at)
        start = self._buffer.rfind("\n", 0, self._at) + 1
        return self._line + n_lines, self._at - start + (1 if n_lines else self._column)

    def _read(self) -> None:
        """Read more, doubling the amount for a long item each time, so that parsing it again costs little."""
        self._line, self._column = self._place()
        rest = self._buffer[self._at :]
        piece = self._text.read(max(CHUNK, len(rest)))
        self._buffer, self._at, self._is_ended = rest + piece, 0, not piece
