"""Pages of the reference that are made from the code whenever the documentation is built: settings, commands, words."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.cli import get_docs_for_click
from typer.main import get_command

from ensemw2s.cli.commands import app
from ensemw2s.config import ExperimentConfig
from ensemw2s.report.glossary import GLOSSARY
from ensemw2s.tables import TASKS


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs calls this once it knows the written pages."""
    pages = {
        "reference/settings.md": settings_page(),
        "reference/cli.md": cli_page(),
        "reference/glossary.md": glossary_page(),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def settings_page() -> str:
    """Every setting of a configuration, section by section, then of every task."""
    sections = "".join(_sections(ExperimentConfig, "", set()))
    tasks = "".join(f"\n### task: {name}\n\n{_table(TASKS[name])}" for name in TASKS)
    common = "`task.name` says which settings `task` has beside the common ones."
    return (
        "# Settings\n\n"
        "A configuration is a YAML file; `ensemw2s run my.yaml --set ensemble.n_rounds=8` overrides a setting. A "
        "setting that is left out has its default. `ensemw2s validate my.yaml` names every bad one with its mend. Made "
        f"from the code.\n{sections}\n## Tasks\n\n{common}\n{tasks}"
    )


def cli_page() -> str:
    """Every command with its options."""
    command = get_command(app)
    with command.make_context("ensemw2s", [], resilient_parsing=True) as context:
        made = get_docs_for_click(obj=command, ctx=context, name="ensemw2s", title="Commands")
    return made.replace("\n`", "\n\n`", 1)


def glossary_page() -> str:
    """The words that reports explain."""
    terms = sorted(GLOSSARY.values(), key=lambda term: term.title.lower())
    return "# Words\n\n" + "\n".join(f"**{term.title}**: {term.meaning}\n" for term in terms)


def _sections(model: type[BaseModel], path: str, seen: set[type]) -> Iterator[str]:
    seen.add(model)
    title = f"`{path}`" if path else "The file itself"
    title = title.replace("`expert_training`", "`expert_training` and `student_training`")
    yield f"\n## {title}\n\n{_table(model, path)}"
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            if inner not in seen:
                yield from _sections(inner, f"{path}.{name}" if path else name, seen)


def _table(model: type[BaseModel], path: str = "") -> str:
    rows = []
    for name, field in model.model_fields.items():
        inner = next(_models(field.annotation), None)
        meaning = field.description or (inner.__doc__ if inner is not None else "") or ""
        default = "below" if inner is not None else _default(field)
        cells = (f"`{name}`", _shown(field.annotation), default, " ".join(meaning.split()))
        rows.append("| " + " | ".join(map(_cell, cells)) + " |\n")
    return "| setting | values | default | |\n|---|---|---|---|\n" + "".join(rows)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Sections that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)


def _shown(annotation: Any) -> str:
    """An annotation as a user writes its values."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _shown(args[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin in (Union, UnionType):
        return " or ".join(_shown(each) for each in args)
    if origin in (tuple, list, set, frozenset):
        inner = [each for each in args if each is not ...]
        return "list" if not inner else f"list of {_shown(inner[0])}s"
    if origin is dict:
        return "mapping"
    names = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", NoneType: "`null`"}
    return names.get(annotation, "section" if next(_models(annotation), None) else str(annotation))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
    if value is PydanticUndefined:
        return "required"
    if value is None or isinstance(value, bool):
        return f"`{'null' if value is None else str(value).lower()}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`" if value != "" else '`""`'


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
