"""A configuration from YAML and `--set`; every bad setting is named with its value and the mend."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ensemw2s.config.experiment import ExperimentConfig
from ensemw2s.config.task import TaskSettings, task_class
from ensemw2s.errors import ConfigError
from ensemw2s.reading import load_yaml, read_text

MOST_PARTS = 8
"""Names in one another that `--set` may have; the deepest setting has four."""


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read a YAML file (None: the embedded default) and apply `--set a.b=c` overrides, in order.

    Raises:
        ConfigError: the file is missing or is not YAML, a key is unknown, a value is invalid.
    """
    where = str(path) if path else "the default configuration"
    tree: Any = {}
    if path is not None:
        tree = load_yaml(read_text(path, ConfigError, mend="check the path of the configuration"), where)
        tree = {} if tree is None else tree
        if not isinstance(tree, dict):
            raise ConfigError(
                f"{path}: a configuration is a mapping of settings, got {type(tree).__name__}; write `key: value` lines"
            )
    for override in overrides:
        _apply(tree, override)
    return parse_config(tree, where=where)


def parse_config(tree: Mapping[str, Any], *, where: str = "the configuration") -> ExperimentConfig:
    """Validate a mapping. Raises ConfigError naming every bad setting, its value and the mend."""
    try:
        return ExperimentConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_explain(e, tree) for e in error.errors())) from None


def _apply(tree: dict[str, Any], override: str) -> None:
    shown = override if len(override) <= 200 else f"{override[:200]}…"
    key, sign, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not sign or not all(parts):
        raise ConfigError(f"--set {shown}: expected KEY=VALUE, for example --set ensemble.n_rounds=8")
    if len(parts) > MOST_PARTS:
        raise ConfigError(
            f"--set {shown}: {len(parts)} names in one another, where no setting lies so deep; mend the name"
        )
    *parents, leaf = parts
    node: Any = tree
    for part in parents:
        node = node.setdefault(part, {}) if isinstance(node, dict) else node[_place(part, node, shown)]
        if not isinstance(node, dict | list):
            raise ConfigError(f"--set {shown}: {part!r} is a single value and has no settings below it")
    value = load_yaml(text, f"--set {shown}", mend="quote it")
    if isinstance(node, dict):
        node[leaf] = value
    else:
        node[_place(leaf, node, shown)] = value


def _place(part: str, entries: list[Any], shown: str) -> int:
    """The place of a list's entry that `--set` names by its number."""
    if not part.isdecimal() or int(part) >= len(entries):
        raise ConfigError(f"--set {shown}: {part!r} is no entry of the list there; give 0 to {len(entries) - 1}")
    return int(part)


def _section(location: Sequence[int | str], tree: Mapping[str, Any]) -> Any:
    """The class of the section that the setting at `location` stands in; None where it is none of the package's."""
    model: Any = ExperimentConfig
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        candidates = (annotation, *get_args(annotation))
        sections = [a for a in candidates if isinstance(a, type) and issubclass(a, BaseModel)]
        if not sections:
            return None
        model = task_class(tree["task"]) if sections[0] is TaskSettings else sections[0]
    return model


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]} … {text[-60:]}"


def _explain(error: Any, tree: Mapping[str, Any]) -> str:
    location = list(error["loc"])
    name = ".".join(str(part) for part in location) or "configuration"
    if error["type"] == "extra_forbidden":
        section = _section(location, tree)
        valid = list(section.model_fields) if section else []
        near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
        mend = f"did you mean {near[0]!r}?" if near else f"valid settings there: {', '.join(valid)}"
        of = (
            f" of the task {section.model_fields['name'].default}"
            if section and issubclass(section, TaskSettings)
            else ""
        )
        return f"{name}: no such setting{of}; {mend}"
    if error["type"] == "missing":
        return f"{name}: this setting must be given"
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(error["input"], dict) else f", got {_cut(error['input'])}"
    mend = ""
    if error["type"] == "string_type" and isinstance(error["input"], bool):
        mend = "; YAML reads a bare yes, no, on or off as true or false: put it in quotes"
    return f"{name}: {message[:1].lower() + message[1:]}{shown}{mend}"
