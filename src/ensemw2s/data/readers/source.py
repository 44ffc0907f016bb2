"""Opening of text files for streaming: gzip is unpacked, and the encoding is checked before the first row."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ensemw2s.data.readers.rows import ROW_BYTES, BadRow
from ensemw2s.errors import DataError
from ensemw2s.reading import open_file

HEAD = 2**16
"""Number of first bytes by which the format of a file is detected."""
EXPANSION = 200
"""Largest growth factor of a gzip file. Text grows about ten times; the format allows about a thousand."""
SMALL = 2**22
"""Unpacked size in bytes that is always accepted."""
BLANK_LINES = 100_000
"""More in one another's wake are no data."""
OTHER_KINDS = {
    codecs.BOM_UTF8 + codecs.BOM_UTF8: "text with two byte order marks; save it as plain UTF-8",
    codecs.BOM_UTF16_LE: "UTF-16 text (Excel's `Unicode Text`, PowerShell's `>`); save it as UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16 text; save it as UTF-8",
    b"\0\0\xfe\xff": "UTF-32 text; save it as UTF-8",
    b"PK\x03\x04": "an Excel workbook or another zip archive; export it as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; export it as CSV",
    b"PAR1": "a Parquet file; name it .parquet",
    b"\x1f\x8b": "a gzip file; let its name end in .gz",
    b"\x28\xb5\x2f\xfd": "a Zstandard file; unpack it",
    b"BZh": "a bzip2 file; unpack it",
    b"\xfd7zXZ": "an xz file; unpack it",
    b"version https://git-lfs": "a pointer of Git LFS, not the data; fetch it with `git lfs pull`",
}
"""First bytes of formats that are often mistaken for text, with the remedy."""


@dataclass(frozen=True)
class Source:
    """An opened text file."""

    text: io.TextIOWrapper
    """Text decoded with `surrogateescape` for bytes that are not UTF-8, with unchanged line ends."""
    head: str
    """Beginning of the file, not consumed."""
    is_whole: bool
    """Whether `head` is the whole file."""
    counted: "_Counted"

    @property
    def done(self) -> int:
        """Number of bytes of the file read so far, compressed where it is."""
        return self.counted.n_read


@contextmanager
def opened(path: Path, name: str, *, is_gzip: bool) -> Iterator[Source]:
    """Open the file as text for one reading.

    Raises:
        DataError: it is no regular file, cannot be read, or is something else than UTF-8 text; while it is read: it is
            no whole gzip file, or grows beyond all measure.
    """
    with open_file(path, DataError) as file:
        counted = _Counted(file)
        raw = _Unpacked(counted, name) if is_gzip else counted
        buffered = io.BufferedReader(raw, HEAD)
        start = buffered.peek(HEAD)
        _check_kind(start, name)
        # A head that ends within a character loses only that character.
        head = start.removeprefix(codecs.BOM_UTF8).decode(errors="replace")
        text = io.TextIOWrapper(buffered, encoding="utf-8-sig", errors="surrogateescape", newline="")
        yield Source(text, head, len(start) < HEAD, counted)


class Lines:
    """Lines with their ends (`\\n`, `\\r\\n` or `\\r`), of bounded length; continues after a line that is too long."""

    def __init__(self, text: io.TextIOWrapper, name: str):
        self._text = text
        self._name = name
        self._is_open = False
        self._n_blank = 0
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while self._is_open:  # the rest of an endless line, which nobody asked for before
            part = self._text.readline(ROW_BYTES)
            self._is_open = bool(part) and not part.endswith(("\n", "\r"))
        line = self._text.readline(ROW_BYTES)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) <= 2 and line.isspace():
            self._n_blank += 1
            if self._n_blank > BLANK_LINES:
                raise DataError(f"{self._name}:{self.number}: {BLANK_LINES:,} blank lines before it; delete them")
        else:
            self._n_blank = 0
        if len(line) == ROW_BYTES and not line.endswith(("\n", "\r")):
            self._is_open = True
            raise BadRow(f"the line is longer than {ROW_BYTES:,} bytes; shorten or delete it")
        return line


class _Counted(io.RawIOBase):
    def __init__(self, file: io.BufferedReader):
        self._file = file
        self.n_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        self.n_read += len(piece)
        return len(piece)


class _Unpacked(io.RawIOBase):
    def __init__(self, packed: _Counted, name: str):
        self._packed = packed
        self._file = gzip.GzipFile(fileobj=io.BufferedReader(packed, HEAD))
        self._name = name
        self._n_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            piece = self._file.read(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{self._name}: not a whole gzip file ({error}); pack it again") from None
        self._n_read += len(piece)
        if self._n_read > max(SMALL, EXPANSION * self._packed.n_read):
            raise DataError(
                f"{self._name}: a gzip file that grows more than {EXPANSION} times; if you trust it, unpack it first"
            )
        buffer[: len(piece)] = piece
        return len(piece)


def _check_kind(start: bytes, name: str) -> None:
    for first, what in OTHER_KINDS.items():
        if start.startswith(first):
            raise DataError(f"{name}: {what}")
    sample = start[:64]
    if len(sample) > 3 and max(sample[::2].count(0), sample[1::2].count(0)) > len(sample) // 4:
        raise DataError(f"{name}: UTF-16 text, or no text at all (every other byte is 0); save it as UTF-8")
