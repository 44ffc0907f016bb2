"""Input that is small and would run on or grow without end: refused in time and memory that nobody notices.

All cases are tried in one child process, whose peak memory is that of the worst.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

Tried = Callable[[list[tuple[str, str]]], list[str]]
SECONDS, MEBIBYTES = 5.0, 1024
"""Of one case, and of the process beyond what its imports take."""

TRY = """
import json, resource, sys, time
from pathlib import Path
from ensemw2s.config import load_config
from ensemw2s.data.readers.load import iterate_rows
from ensemw2s.data.readers.stream import stream_rows
from ensemw2s.data.templates.template import Template
from ensemw2s.errors import EnsemW2SError
from ensemw2s.reading import load_yaml
ROW = {"q": "Why?", "options": ["rain", "sun"], "n": 7, "big": "x" * 3_000_000}
def rows(path):
    for row in stream_rows(Path(path), []):
        if row.problem: raise EnsemW2SError(row.place + ": " + row.problem)
TRIED = {
    "template": lambda text: Template(text).render("f line 3", ROW),
    "yaml": lambda text: load_yaml(text, "my.yaml"),
    "set": lambda text: load_config(None, [text]),
    "config": lambda path: load_config(Path(path)),
    "read": lambda path: [None for _ in iterate_rows(path)] and None,
    "stream": rows,
}
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
for line in sys.stdin:
    found = []
    for kind, value in json.loads(line):
        start = time.process_time()
        try:
            TRIED[kind](value)
            message = ""
        except EnsemW2SError as error:
            message = str(error)
        found.append([message, time.process_time() - start])
    print(json.dumps([found, peak() - before]), flush=True)
"""


@pytest.fixture(scope="module")
def tried() -> Iterator[Tried]:
    """Gives the message of each case, all within time and memory."""
    child = subprocess.Popen([sys.executable, "-c", TRY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None

    def messages(cases: list[tuple[str, str]]) -> list[str]:
        child.stdin.write(json.dumps(cases) + "\n")
        child.stdin.flush()
        found, mebibytes = json.loads(child.stdout.readline())
        assert mebibytes < MEBIBYTES
        for (_, value), (message, seconds) in zip(cases, found, strict=True):
            assert seconds < SECONDS, value[:80]
            assert "\n" not in message
            assert len(message) < 3000
        return [message for message, _ in found]

    with child:
        yield messages
        child.stdin.close()


def check(tried: Tried, cases: list[tuple[str, str, list[str]]]) -> None:
    messages = tried([(kind, value) for kind, value, _ in cases])
    for (_, value, words), message in zip(cases, messages, strict=True):
        assert message, f"accepted: {value[:80]}"
        assert all(word in message for word in words), (value[:80], message)


TEMPLATES = {
    "{{ q }}\n{{ 'a' * 1000000000 }}": ["line 2", "takes numbers"],
    "{{ q }}{{ [1] * 1000000000 }}": ["line 1", "takes numbers"],
    "{{ q }}{{ 10**10**10 }}": ["line 1", "`pow`"],
    "{{ q }}{{ '%1000000000d' % 1 }}": ["line 1", "too long"],
    "{{ q }}\n\n{{ '%1000000000d' | format(1) }}": ["line 3", "too long"],
    "{{ '%.1000000000f' % n }}": ["line 1", "too long"],
    "{{ '%*d' % (1000000000, n) }}": ["line 1", "too long"],
    "{{ '{:>1000000000}'.format(q) }}": ["line 1", "methods"],
    "{{ q | center(1000000000) }}": ["line 1", "No filter named 'center'"],
    "{{ q.center(1000000000) }}": ["line 1", "methods"],
    "{{ q.zfill(1000000000) }}": ["line 1", "methods"],
    "{{ q | indent(1000000000) }}": ["line 1", "`indent` by more than"],
    "{{ q | batch(1000000000) | list }}": ["line 1", "`batch` by more than"],
    "{{ options | tojson(indent=1000000000) }}": ["line 1", "`tojson` by more than"],
    "{{ n | round(1000000000) }}": ["line 1", "`round` by more than"],
    "{{ q.replace('', big) }}{{ big.replace('x', q) }}": ["line 1", "`replace` makes"],
    "{{ big | replace('x', 'yyyy') }}": ["line 1", "`replace` makes"],
    "{{ options | join(big) }}{{ options | join(big) }}": ["line 1", "more than"],
    "{{ big.join(big[:9]) }}": ["line 1", "`join` makes"],
    "{{ big | map('replace', 'x', 'y') | list }}": ["line 1", "letter by letter"],
    "{{ big | sort }}": ["line 1", "letter by letter"],
    "{{ big | groupby('x') }}": ["line 1", "letter by letter"],
    "{% set a = big %}" + "{% set a = a ~ a %}" * 30 + "{{ a }}": ["line 1", "characters at once"],
    "{% set a = q %}" + "{% set a = a + a %}" * 30 + "{{ a }}": ["line 1", "too much"],
    "{% set a = [q] %}" + "{% set a = [a, a] %}" * 30 + "{{ a | string }}": ["line 1", "items at once"],
    "{% set a = n %}" + "{% set a = a * a %}" * 30 + "{{ a }}": ["line 1", "a number beyond"],
    "{% for a in big %}{% endfor %}{{ q }}": ["line 1", "a loop of more than"],
    "{% set l = big[:9000] | list %}{% for a in l %}{% for b in l %}{% for c in l %}x{% endfor %}{% endfor %}"
    "{% endfor %}": ["line 1", "more work"],
    "{% for i in big[:9000] | list %}{% if big == big %}{% endif %}{{ big[1:] | length }}{% endfor %}": ["more work"],
    "{% for i in big[:900] | list %}{{ big | wordcount }}{% endfor %}": ["more work"],
    "{{ big }}{{ big }}": ["a prompt of more than"],
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}{{ q }}": ["line 1", "`macro`"],
    "{% for a in q recursive %}{{ loop(q) }}{% endfor %}": ["line 1", "recursive"],
    "{% include q %}": ["line 1", "`include`"],
    "{% import q as x %}": ["line 1", "`import`"],
    "{% extends q %}": ["line 1", "`extends`"],
    "{% filter upper %}{{ q }}{% endfilter %}": ["line 1", "`filterblock`"],
    "{% set x %}{{ big }}{{ big }}{% endset %}{{ x }}": ["line 1", "`assignblock`"],
    "{{ q }}{{ range(1000000000) | list }}": ["line 1", "methods"],
    "{{ q }}{{ lipsum(n=1000000) }}": ["line 1", "methods"],
    "{{ q.__class__.__mro__ }}": ["line 1", "unsafe"],
    "{{ q | attr('__class__') }}": ["line 1", "No filter named 'attr'"],
    "{{ " + "(" * 5000 + "q" + ")" * 5000 + " }}": ["line 1", "brackets in one another"],
    "{{ " + "not " * 9000 + "q }}": ["line 1", "cannot be read"],
    "{{ " + "-" * 9000 + "n }}": ["line 1", "cannot be read"],
    "{% if q %}" * 1000 + "{% endif %}" * 1000: ["line 1"],
    "{% for a in q %}" * 20 + "{% endfor %}" * 20: ["line 1", "nested deeper than"],
    "{{ q" + " | upper" * 3000 + " }}": ["line 1", "nested deeper than"],
    "{{ q" + " + q" * 3000 + " }}": ["line 1", "nested deeper than"],
    "{{ q }}" * 20_000: ["line 1", "words and signs"],
    "x" * 2_000_000 + "{{ q }}": ["line 1", "characters"],
    "{{ q }}{{ " + "9" * 5000 + " }}": ["line 1", "cannot be read"],
    "{{ q }}{{ 0x" + "f" * 50_000 + " }}": ["line 1", "a number beyond"],
    "{{ q }}{{ 1e999 }}": ["line 1", "not finite"],
    "{{ q | truncate(1) }}": ["line 1", "cannot be filled"],
}


def test_a_template_that_would_run_on_or_grow_is_refused_with_its_line(tried: Tried):
    check(tried, [("template", text, words) for text, words in TEMPLATES.items()])


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
DOCUMENTS = {
    LAUGHS: ["line 5", "aliases stand for more than"],
    "a: &a [*a]": ["line 1", "for itself"],
    "a: *b": ["line 1", "stands for nothing"],
    "a: " + "[" * 100_000: ["line 1", "nested deeper"],
    "{a: " * 100_000: ["line 1", "nested deeper"],
    "- " * 100_000: ["line 1", "nested deeper"],
    "a: [" + "1," * 600_000 + "]": ["characters of YAML"],
    "a: " + "9" * 5000: ["line 1", "5,000 digits"],
    "a: 0x" + "f" * 100_000: ["line 1", "digits"],
    "a: " + ":".join(["1"] * 50_000): ["line 1", "digits"],
    "a: 1\nb: 2\na: 3": ["line 3", "'a' stands twice"],
    "x: {b: 1, b: 2}": ["line 1", "'b' stands twice"],
    "? [1]\n: 2": ["line 1", "unhashable"],
    "!!python/object/apply:os.system ['id']": ["line 1", "constructor"],
    "a: \0": ["not valid YAML"],
}


def test_yaml_that_would_grow_or_recurse_is_refused_with_its_line(tried: Tried):
    check(tried, [("yaml", text, ["my.yaml", *words]) for text, words in DOCUMENTS.items()])


def test_aliases_that_stand_for_little_and_merged_settings_are_read(tried: Tried):
    messages = tried([("yaml", "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: *x"), ("set", "weak.n_layers=8")])
    assert messages == ["", ""]


OVERRIDES = {
    "a." * 5000 + "b=1": ["5001 names in one another"],
    "weak..model=tiny": ["KEY=VALUE"],
    "name=" + "[" * 1000: ["nested deeper", "quote it"],
    "weak=*a": ["stands for nothing"],
    'name="\\ud800"': ["quote it"],
}


def test_an_override_that_recurses_is_refused_in_one_paragraph(tried: Tried):
    check(tried, [("set", text, ["--set", *words]) for text, words in OVERRIDES.items()])


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(("make", "words"), [(pipe, ["a named pipe"]), (device, ["a device"]), (loop, ["Too many"])])
def test_what_is_no_regular_file_is_refused_and_never_waited_for(
    tried: Tried, tmp_path: Path, make: Callable, words: list[str]
):
    for name in ("my.jsonl", "my.csv.gz", "my.parquet", "my.yaml"):
        make(tmp_path / name)
    kinds = [("stream", n) for n in ("my.jsonl", "my.csv.gz", "my.parquet")] + [("config", "my.yaml")]
    check(tried, [(kind, str(tmp_path / name), [name, *words]) for kind, name in kinds])


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)


def repeated(text: str, n: int) -> pyarrow.Array:
    """The text n times, held once."""
    return pyarrow.DictionaryArray.from_arrays(pyarrow.repeat(pyarrow.scalar(0, pyarrow.int32()), n), [text])


def in_one_list(values: pyarrow.Array) -> pyarrow.Array:
    return pyarrow.ListArray.from_arrays([0, len(values)], values)


def test_a_small_parquet_file_of_gigabytes_is_refused_or_read_row_by_row(tried: Tried, tmp_path: Path):
    parquet(tmp_path / "repeated.parquet", {"q": repeated("x" * 20_000_000, 200)})
    parquet(tmp_path / "long.parquet", {"q": ["x" * 80_000_000]}, use_dictionary=False, compression="zstd")
    parquet(tmp_path / "lists.parquet", {"q": in_one_list(pyarrow.nulls(40_000_000, pyarrow.int8()))})
    parquet(tmp_path / "texts.parquet", {"q": in_one_list(repeated("y" * 1_000_000, 5000))})
    parquet(tmp_path / "rows.parquet", {"q": pyarrow.nulls(20_000_000, pyarrow.string())})
    parquet(tmp_path / "wide.parquet", {f"c{i}": [1] for i in range(12_000)})
    words = {
        "repeated": ["row 1", "longer than"],
        "long": ["grows from"],
        "lists": ["40,000,000 values"],
        "texts": ["row 1", "longer than"],
        "rows": ["far too small"],
        "wide": ["12,000 columns"],
    }
    check(tried, [("read", str(tmp_path / f"{name}.parquet"), expected) for name, expected in words.items()])


def test_a_gzip_file_that_grows_and_rows_without_end_are_refused(tried: Tried, tmp_path: Path):
    import gzip

    contents = {
        "spaces.jsonl.gz": gzip.compress(b" " * 20_000_000),
        "lines.csv.gz": gzip.compress(b"a,b\n" + b"\n" * 20_000_000),
        "items.json.gz": gzip.compress(b"[" + b'{"a": "b"},' * 1_000_000),
        "columns.csv": b",".join(b"c%d" % i for i in range(20_000)) + b"\n1\n",
        "keys.jsonl": json.dumps({str(i): 1 for i in range(20_000)}).encode(),
        "nested.jsonl": b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}\n",
        "deep.json": b'[{"a": ' + b"[" * 100_000,
        "cell.csv": b"q,a\n" + b"x" * (2**24 + 10) + b",yes\n",
        "quote.csv": b'q,a\n"' + b"x\n" * 500_000 + b"y,z\n",
        "item.json": b'[{"a": "' + b"x" * (2**24 + 2**23),
    }
    words = {
        "spaces.jsonl.gz": ["grows more than 200 times"],
        "lines.csv.gz": ["blank lines"],
        "items.json.gz": ["grows more than 200 times"],
        "columns.csv": ["20,000 columns"],
        "keys.jsonl": ["line 1", "20,000 columns"],
        "nested.jsonl": ["line 1", "nested deeper"],
        "deep.json": ["item 1", "cannot be read"],
        "cell.csv": ["line 2", "longer than 16,777,216 bytes"],
        "quote.csv": ["line 2", "is a quotation mark open?"],
        "item.json": ["item 1", "longer than 16,777,216 bytes"],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    check(tried, [("read", str(tmp_path / name), [name, *expected]) for name, expected in words.items()])
