"""The whole experiment as one frozen, validated tree; unknown keys are refused with the nearest valid one."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from ensemw2s.errors import ConfigError
from ensemw2s.names import VIEWED
from ensemw2s.reading import load_yaml, read_text
from ensemw2s.recipes import Recipe, StudentConfig
from ensemw2s.settings import (
    CacheConfig,
    DecodingConfig,
    DecodingSettings,
    DifficultyConfig,
    EnsembleConfig,
    Frozen,
    GenerationConfig,
    ModelConfig,
    SplitConfig,
    TaskConfig,
    TrainConfig,
)
from ensemw2s.text import name_problem

FREE_TASKS = ("geo-countries", "reasoning", "arc-qa", "openbookqa", "gsm8k", "svamp")
"""Tasks that are answered in words."""
MOST_PARTS = 8
"""Names in one another that `--set` may have; the deepest setting has four."""


def _plain_name(name: str) -> str:
    if problem := name_problem(name):
        raise ValueError(f"not the plain name of a folder: {problem}")
    return name


class ExperimentConfig(Frozen):
    """Everything that decides a result, and nothing that does not."""

    name: Annotated[str, AfterValidator(_plain_name)] = "geo-facts"
    """Of the run, and of its folder below `runs`."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    task: TaskConfig = TaskConfig()
    difficulty: DifficultyConfig = DifficultyConfig()
    split: SplitConfig = SplitConfig()
    weak: ModelConfig = ModelConfig(n_layers=10)
    strong: ModelConfig = ModelConfig(n_layers=20)
    expert_training: TrainConfig = TrainConfig()
    student_training: TrainConfig = TrainConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    students: StudentConfig = StudentConfig()
    generation: GenerationConfig = GenerationConfig()
    cache: CacheConfig = CacheConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "ExperimentConfig":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be distinct, got {list(self.seeds)}")
        if self.task.unlabelled and self.difficulty.source != "column":
            raise ValueError(
                f"difficulty.source ({self.difficulty.source}) has no part where task.unlabelled is given; leave it out"
            )
        paced = [r.name for r in self.students.recipes if r.curriculum == "difficulty"]
        if self.task.unlabelled and paced:
            raise ValueError(
                f"students.recipes: {paced[0]} goes by difficulty, which nobody knows where task.unlabelled is given; "
                "choose curriculum: confidence"
            )
        if self.split.kind == "random" and (self.task.unlabelled or self.difficulty.source != "column"):
            given = "task.unlabelled" if self.task.unlabelled else "difficulty.source"
            raise ValueError(f"split.kind: random deals all examples alike, so {given} has no part; leave it out")
        if self.is_generation:
            self._check_generation()
        for name in ("weak", "strong"):
            model: ModelConfig = getattr(self, name)
            if model.adapter == "top" and model.n_layers is not None and model.top_layers >= model.n_layers:
                raise ValueError(
                    f"{name}.top_layers ({model.top_layers}) must be below {name}.n_layers ({model.n_layers})"
                )
            if model.adapter == "lora" and (model.lora_layers or 0) > (model.n_layers or model.lora_layers or 0):
                raise ValueError(f"{name}.lora_layers ({model.lora_layers}) exceeds {name}.n_layers ({model.n_layers})")
        if len(set(self.ensemble.methods)) != len(self.ensemble.methods):
            raise ValueError(f"ensemble.methods lists a method twice: {list(self.ensemble.methods)}")
        self._check_views()
        names = [r.name for r in self.students.recipes]
        if len(set(names)) != len(names):
            raise ValueError(f"students.recipes lists a recipe twice: {names}")
        there = ("self", *self.ensemble.methods)
        for recipe in self.students.recipes:
            if missing := [t for t in recipe.teachers if t not in there]:
                raise ValueError(
                    f"students.recipes: {recipe.name} has the teacher {missing[0]}, which the run lacks; choose "
                    f"among {', '.join(there)}, or add it to ensemble.methods"
                )
        return self

    @property
    def is_generation(self) -> bool:
        """Whether the task is answered in words."""
        return self.task.name in FREE_TASKS or (self.task.name == "files" and self.task.answer_form == "free")

    @property
    def is_tiny(self) -> bool:
        """Whether a model of random weights takes part, whose figures mean nothing."""
        return "tiny" in (self.weak.model, self.strong.model)

    @property
    def template(self) -> str:
        """What the run's prompts are made by; those of built-in tasks are read as they stand."""
        return self.task.prompt if self.task.name == "files" else "{{ prompt }}"

    def _check_views(self) -> None:
        viewed = [method for method in self.ensemble.methods if method in VIEWED]
        if viewed and (self.is_generation or self.weak.adapter != "head"):
            what = f"{self.task.name} is answered in words" if self.is_generation else f"got {self.weak.adapter}"
            mend = "take it out" if self.is_generation else "set that, or take it out"
            raise ValueError(
                f"ensemble.methods: members of {viewed[0]} read one pooled feature, which only classes with "
                f"weak.adapter: head have ({what}); {mend}"
            )
        if self.weak.n_layers is not None and (message := self.ensemble.beyond(self.weak.n_layers)):
            raise ValueError(message)

    def _check_generation(self) -> None:
        for name in ("weak", "strong"):
            if getattr(self, name).adapter == "head":
                raise ValueError(
                    f"{name}.adapter: {self.task.name} is answered in words; choose `top`, `lora` or `full`"
                )
            new_tokens = self.generation.decoding.max_new_tokens
            if new_tokens != "auto" and getattr(self, name).max_length <= new_tokens:
                raise ValueError(
                    f"{name}.max_length ({getattr(self, name).max_length}) leaves no room for a prompt before "
                    f"generation.decoding.max_new_tokens ({new_tokens})"
                )
        has_options = self.task.name in ("arc-qa", "openbookqa") or self.task.options
        if self.generation.answer_by == "choices" and not has_options:
            raise ValueError(
                f"generation.answer_by: the questions of {self.task.name} have no options; choose `decode`"
            )
        if self.ensemble.vote == "hard":
            raise ValueError("ensemble.vote: next-token distributions are mixed; choose `soft` or `log`")
        for recipe in self.students.recipes:
            recipe.check_words()


def canonical_hash(value: Any) -> str:
    """sha256 of a value's canonical JSON; equal for equal settings, whatever the order or spelling of the file."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


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
        raise ConfigError(f"{where}: " + "; ".join(_explain(e) for e in error.errors())) from None


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
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {shown}: {part!r} is a single value and has no settings below it")
    node[leaf] = load_yaml(text, f"--set {shown}", mend="quote it")


def _fields_at(location: Sequence[int | str]) -> list[str]:
    """Names of the settings beside the one at `location`."""
    model: Any = ExperimentConfig
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        candidates = (annotation, *get_args(annotation))
        found = [a for a in candidates if isinstance(a, type) and issubclass(a, BaseModel)]
        if not found:
            return []
        model = found[0]
    return list(model.model_fields)


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]} … {text[-60:]}"


def _explain(error: Any) -> str:
    location = list(error["loc"])
    name = ".".join(str(part) for part in location) or "configuration"
    if error["type"] == "extra_forbidden":
        valid = _fields_at(location)
        near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
        mend = f"did you mean {near[0]!r}?" if near else f"valid settings there: {', '.join(valid)}"
        return f"{name}: no such setting; {mend}"
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(error["input"], dict) else f", got {_cut(error['input'])}"
    mend = ""
    if error["type"] == "string_type" and isinstance(error["input"], bool):
        mend = "; YAML reads a bare yes, no, on or off as true or false: put it in quotes"
    return f"{name}: {message[:1].lower() + message[1:]}{shown}{mend}"


__all__ = [
    "CacheConfig",
    "DecodingConfig",
    "DecodingSettings",
    "DifficultyConfig",
    "EnsembleConfig",
    "ExperimentConfig",
    "GenerationConfig",
    "ModelConfig",
    "Recipe",
    "SplitConfig",
    "StudentConfig",
    "TaskConfig",
    "TrainConfig",
    "canonical_hash",
    "load_config",
    "parse_config",
]
