"""Reading of files and YAML from outside, within bounds.

Only regular files are opened, because a named pipe would block and a device never ends. The size of YAML is bounded
before it is built, because a few bytes with aliases can stand for gigabytes.
"""

import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

from ensemw2s.errors import ConfigError, EnsemW2SError

TEXT_BYTES = 2**20
"""Largest size of a configuration."""
DEPTH = 64
"""Largest nesting depth of lists and mappings."""
ALIASED = 10_000
"""Largest number of values that all aliases of a YAML document may stand for."""
DIGITS = 100
"""Largest number of digits of an integer in YAML."""
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


_SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML was built with it


class _Loader(_SAFE_LOADER):
    """Refuses duplicate keys and numbers of thousands of digits."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value[:80]!r} stands twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        if len(node.value) > DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of {len(node.value):,} digits", node.start_mark
            )
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def open_file(path: Path, error: type[EnsemW2SError], *, mend: str = "check the path") -> io.BufferedReader:
    """Open a regular file for reading; anything else is refused at once.

    Raises:
        EnsemW2SError: of the kind `error`: there is nothing, it is no regular file, or it may not be read.
    """
    try:
        _check_kind(path, os.stat(path).st_mode, error)
        # Should a pipe take the file's place meanwhile, O_NONBLOCK keeps us from waiting for it.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except FileNotFoundError:
        raise error(f"{path}: there is no such file; {mend}") from None
    except ValueError as refused:  # a NUL, or half a character
        raise error(f"{str(path)!r}: no name of a file ({refused}); {mend}") from None
    except OSError as refused:
        reason = refused.strerror or refused
        raise error(f"{path}: the file cannot be read ({reason}); {mend} and its permissions") from None
    try:
        _check_kind(path, os.fstat(file.fileno()).st_mode, error)
    except EnsemW2SError:
        file.close()
        raise
    return file


def _check_kind(path: Path, mode: int, error: type[EnsemW2SError]) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in KINDS if is_kind(mode)), "something else")
        raise error(f"{path}: {kind}, not a file; give a file that can be read again")


def read_text(path: Path, error: type[EnsemW2SError], *, limit: int = TEXT_BYTES, mend: str = "check the path") -> str:
    """Read a UTF-8 text file of at most `limit` bytes.

    Raises:
        EnsemW2SError: of the kind `error`: as `open_file`, or it is longer or not UTF-8.
    """
    try:
        with open_file(path, error, mend=mend) as file:
            raw = file.read(limit + 1)
    except OSError as refused:
        raise error(f"{path}: the file cannot be read ({refused.strerror}); {mend}") from None
    if len(raw) > limit:
        raise error(f"{path}: longer than {limit:,} bytes, which no such file is; {mend}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as refused:
        line = raw.count(b"\n", 0, refused.start) + 1
        raise error(f"{path} line {line}: not UTF-8; save the file as UTF-8") from None


def load_json(text: str) -> Any:
    """Parse a JSON document of bounded depth.

    Raises:
        ValueError: it is not JSON, a number has thousands of digits, or it is nested deeper than DEPTH.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEPTH} levels") from None
    if is_deep(value):
        raise ValueError(f"nested deeper than {DEPTH} levels")
    return value


def is_deep(value: Any, limit: int = DEPTH) -> bool:
    """Whether lists and mappings are nested more than `limit` deep."""
    level = [value]
    for _ in range(limit + 1):
        level = [child for each in level if isinstance(each, dict | list) for child in _children(each)]
        if not level:
            return False
    return True


def _children(value: dict[Any, Any] | list[Any]) -> Any:
    return value.values() if isinstance(value, dict) else value


def load_yaml(text: str, where: str, error: type[EnsemW2SError] = ConfigError, *, mend: str = "mend that line") -> Any:
    """Parse a YAML document of bounded size, depth and aliases; an empty one is None.

    Raises:
        EnsemW2SError: of the kind `error`: it is no YAML, too long or nested too deep, its aliases stand for too much,
            or a key stands twice. The message begins with `where` and names the line.
    """
    if len(text) > TEXT_BYTES:
        raise error(f"{where}: {len(text):,} characters of YAML, where at most {TEXT_BYTES:,} are read; shorten it")
    try:
        _check_events(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as refused:
        mark = refused.problem_mark or refused.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = " ".join(str(refused.problem or refused.context).split())
        raise error(f"{where}: not valid YAML{line}: {reason[:200]}; {mend}") from None
    # ValueError: a date that the calendar lacks. TypeError: a mapping as a key. RecursionError: the pure parser's.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as refused:
        raise error(f"{where}: not valid YAML: {' '.join(str(refused).split())[:200]}; {mend}") from None


def _check_events(text: str) -> None:
    """Refuse documents that would grow or recurse beyond the bounds, before any of it is built."""
    sizes: dict[str, int] = {}
    """Values that an anchor stands for."""
    open_nodes: list[tuple[str | None, int]] = []
    """Anchor of each list or mapping that is being read, and the number of values before it."""
    n_values = n_aliased = 0
    for event in yaml.parse(text, Loader=_Loader):
        problem = ""
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor)
            n_aliased, n_values = n_aliased + (size or 0), n_values + (size or 0)
            if size is None:
                problem = f"the alias *{event.anchor[:80]} stands for nothing before it, or for itself"
            elif n_aliased > ALIASED:
                problem = f"aliases stand for more than {ALIASED:,} values"
        elif isinstance(event, yaml.ScalarEvent):
            n_values += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, n_values))
            sizes.pop(event.anchor or "", None)
            n_values += 1
            problem = f"nested deeper than {DEPTH} levels" if len(open_nodes) > DEPTH else ""
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = n_values - before
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
