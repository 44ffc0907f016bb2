"""The whole experiment as one frozen, validated tree; unknown keys are refused with the nearest valid one."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ensemw2s.errors import ConfigError
from ensemw2s.names import Method

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]


FREE_TASKS = ("geo-countries", "reasoning", "arc-qa", "openbookqa", "gsm8k", "svamp")
"""Tasks that are answered in words."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class TaskConfig(_Frozen):
    name: Literal[
        "geo-facts", "arc", "files", "geo-countries", "reasoning", "arc-qa", "openbookqa", "gsm8k", "svamp"
    ] = "geo-facts"
    """Answered by a class: `geo-facts` (embedded), `arc`, `files` (your own data). Answered by a text:
    `geo-countries` and `reasoning` (embedded), `arc-qa`, `openbookqa`, `gsm8k`, `svamp`. All but the embedded ones
    read the file or folder at `path`."""
    path: str | None = None
    """A .jsonl, .csv or .parquet file, a folder saved by `datasets`, or a hub name as hub:OWNER/NAME."""
    split: str = "train"
    """The split of a hub name or of a `datasets` folder that has several."""
    seed: int = 0
    """Of what the task itself draws (cities, wrong countries, wrong answers, puzzles)."""
    max_per_country: Count = 120
    """geo-facts, geo-countries: cities kept per country."""
    n_countries: Annotated[int, Field(ge=2)] = 32
    """geo-countries: the countries with most cities that are asked for."""
    arc_difficulty: Literal["set", "grade", "difficulty", "depth_of_knowledge"] = "set"
    """arc, arc-qa: Easy/Challenge, or one of the human annotations."""
    show_options: bool = False
    """arc-qa, openbookqa: list the options of a question in its prompt."""
    worked: bool = False
    """gsm8k: the answer is the whole worked solution, which ends with its number, and not the number alone."""
    reasoning_task: Literal["chain_sum", "leg_counting", "number_sorting", "spell_backward"] = "chain_sum"
    """reasoning: the generator of the package reasoning-gym."""
    n_examples: Count = 6000
    """reasoning: how many questions are generated."""
    prompt: str = "{prompt}"
    """files: the text that the model reads, with columns in braces."""
    answer: str = "answer"
    """files: the column of the true answer."""
    answer_form: Literal["choice", "free"] = "choice"
    """files: answered by a class, or in words."""
    choices: tuple[str, ...] = ()
    """files: the classes, in order; empty takes the sorted distinct answers."""
    difficulty: str | None = None
    """files: a numeric column where larger is harder; required by `difficulty.source: column`."""
    id: str | None = None
    """files: a column of unique ids; None numbers the rows."""
    group: str | None = None
    """files: a column of what a split must not tear apart; None puts each row in its own group."""

    @model_validator(mode="after")
    def _path_given(self) -> "TaskConfig":
        if self.name not in ("geo-facts", "geo-countries", "reasoning") and not self.path:
            raise ValueError(f"path is required for the task {self.name!r}")
        return self


class DifficultyConfig(_Frozen):
    source: Literal["column", "entropy", "margin", "p_true"] = "column"
    """`column`: the task's own; `entropy`, `margin`: the weak model's cross-fitted, label-free uncertainty;
    `p_true`: its cross-fitted probability of the true label, which reads hard labels (the report says so)."""
    n_folds: Annotated[int, Field(ge=2)] = 5
    n_labelled: Count = 500
    """entropy, margin: examples whose labels train the raters; they take no further part in the run."""


class SplitConfig(_Frozen):
    seed: int = 0
    """Of the split; the seeds of training are `seeds`."""
    easy_below: Fraction = 0.4
    """Quantile of difficulty: examples below it are the easy side."""
    hard_above: Fraction = 0.6
    """Quantile of difficulty: examples above it are the hard side."""
    n_easy_pool: Count = 1600
    """Labelled easy examples, of which each seed draws its own training and validation part."""
    n_easy_train: Count = 800
    n_easy_val: Count = 400
    n_hard_pool: Count = 1600
    """Hard examples without labels, of which each seed draws its own part."""
    n_hard_unlabelled: Count = 1200
    n_id_test: Count = 800
    n_ood_test: Count = 800

    @model_validator(mode="after")
    def _fits(self) -> "SplitConfig":
        if self.easy_below > self.hard_above:
            raise ValueError(f"easy_below ({self.easy_below}) must not exceed hard_above ({self.hard_above})")
        if self.n_easy_train + self.n_easy_val > self.n_easy_pool:
            raise ValueError(
                f"n_easy_train + n_easy_val ({self.n_easy_train + self.n_easy_val}) exceeds n_easy_pool "
                f"({self.n_easy_pool})"
            )
        if self.n_hard_unlabelled > self.n_hard_pool:
            raise ValueError(f"n_hard_unlabelled ({self.n_hard_unlabelled}) exceeds n_hard_pool ({self.n_hard_pool})")
        return self


class ModelConfig(_Frozen):
    model: str = "smollm2-135m"
    """A name that `ensemw2s fetch` knows, a hub id, a local folder, or `tiny` (random weights, for tests)."""
    revision: str | None = None
    n_layers: Count | None = None
    """Cut to the first layers; None keeps all."""
    adapter: Literal["head", "top", "lora"] = "head"
    """What is trained: a classifier on the pooled feature, a copy of the upper layers too, or LoRA on all layers."""
    head_hidden: Annotated[int, Field(ge=0)] = 0
    """Width of the head's hidden layer; 0 is a linear head (which the library's own classes can load)."""
    top_layers: Count = 2
    """`top`: how many upper layers each expert owns."""
    lora_rank: Count = 8
    lora_alpha: Annotated[float, Field(gt=0)] = 16.0
    lora_layers: Count | None = None
    """`lora`, generation: only on this many upper layers, over the shared trunk; None is all layers."""
    max_length: Count = 512
    """Tokens; a longer prompt is refused before any work."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the frozen trunk: `auto` is bfloat16 where the machine multiplies it fast."""
    trust_remote_code_from: str | None = None
    """Repository whose own code may run; it must equal `model`."""

    @model_validator(mode="after")
    def _trust_named(self) -> "ModelConfig":
        if self.trust_remote_code_from not in (None, self.model):
            raise ValueError(f"trust_remote_code_from must name the model itself ({self.model!r}) or be left out")
        return self


class TrainConfig(_Frozen):
    epochs: Count = 10
    batch_size: Count = 64
    """Examples per optimiser step."""
    micro_batch_size: Count | None = None
    """Examples per forward pass; None is the whole batch. It changes memory, not results."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_frac: Fraction = 0.1
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On the head's input (`head`, `top`) or in the low-rank branch (`lora`)."""
    init_std: Annotated[float, Field(ge=0)] = 0.02
    """Standard deviation of the head's initial weights: a source of diversity among experts."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    checkpoint_steps: Count = 25
    """`lora`, `top`: optimiser steps between checkpoints."""


class EnsembleConfig(_Frozen):
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = get_args(Method)
    n_rounds: Count = 8
    """T, for every method but `single`: equal cost."""
    prior: Literal["chance", "pretrained", "unigram"] | Annotated[float, Field(gt=0, lt=1)] = "chance"
    """Error of a reference that knows nothing: `chance` is 1 - 1/K (AdaBoost, SAMME); `pretrained` is the
    untrained model's zero-shot error on the easy training examples (EnsemW2S); `unigram` always gives their most
    frequent class (generation: answer token)."""
    reweight: Literal["loss", "resample"] = "loss"
    error_source: Literal["train", "folds"] = "train"
    n_folds: Annotated[int, Field(ge=2)] = 5
    shrinkage: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_expert_weight: Annotated[float, Field(gt=0)] = 4.0
    """Cap of alpha, in nats."""
    vote: Literal["soft", "hard", "log"] = "soft"
    expert_weights: Literal["alpha", "equal"] = "alpha"
    select_by: Literal["accuracy", "log_loss"] = "log_loss"
    """What chooses T on the easy validation part."""


class Recipe(_Frozen):
    """One way to train a student on a set of weak labels. Pseudo-answers in words are always hard labels under xent."""

    loss: Literal["xent", "logconf"] = "xent"
    labels: Literal["soft", "hard"] = "soft"
    with_easy: bool = False
    """Train on the labelled easy examples too."""
    weigh_by: Literal["none", "confidence"] = "none"
    """generation: `confidence` weighs each answer by its probability under the mixture, mean 1."""
    min_agreement: Fraction = 0.0
    """generation: only answers that at least this share of the voting experts would have given by themselves."""

    @property
    def name(self) -> str:
        parts = [f"{self.loss}-{self.labels}"]
        parts += ["weighed"] if self.weigh_by == "confidence" else []
        parts += [f"agreed{self.min_agreement:g}"] if self.min_agreement else []
        return "-".join(parts) + ("+easy" if self.with_easy else "")


class StudentConfig(_Frozen):
    recipes: Annotated[tuple[Recipe, ...], Field(min_length=1)] = (
        Recipe(),
        Recipe(with_easy=True),
        Recipe(loss="logconf"),
        Recipe(labels="hard"),
    )
    """The first one makes the headline comparison; each is trained from every teacher."""
    aux_coef: Fraction = 0.5
    """logconf: final weight of the student's own hardened prediction."""
    warmup_frac: Fraction = 0.2
    """logconf: share of training over which that weight grows from 0, linearly."""


class DecodingConfig(_Frozen):
    """How answers are written (generation)."""

    max_new_tokens: Count = 24
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 takes the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw among the likeliest tokens that hold this share of the probability."""
    stop: tuple[str, ...] = ("\n",)
    """Texts that end an answer; they are cut off. The model's own end token always does."""
    batch_rows: Count = 32
    seed: int = 0
    """Of the draws."""


class GenerationConfig(_Frozen):
    """What only tasks with free answers have."""

    boost_unit: Literal["token", "sequence"] = "token"
    """What boosting weighs: answer tokens (the paper), or whole answers."""
    count_trivial: bool = False
    """Count errors on the end token and on tokens without a letter or digit."""
    bootstrap: bool = False
    """Boosted experts after the first learn from a bootstrap draw of answers, too: a source of diversity."""
    init_noise: Annotated[float, Field(ge=0)] = 0.0
    """Noise on an expert's initial matrices, in units of their entries' standard deviation."""
    answer_by: Literal["decode", "choices"] = "decode"
    """Write the answer, or (arc-qa, openbookqa) take the question's likeliest option, normalised by its length."""
    decoding: DecodingConfig = DecodingConfig()


class CacheConfig(_Frozen):
    trunk_cache: Literal["auto", "memory", "disk", "off"] = "auto"
    """Where the trunk's activations live; `auto` is disk within the budget, else off (recomputed)."""
    budget_gib: Annotated[float, Field(gt=0)] = 20.0
    """Space that the activations of one model may take."""
    batch_tokens: Count = 2048
    """Tokens per forward pass of the trunk, padding included."""
    shard_rows: Count = 1024
    """Examples per shard: what a crash can cost."""


class ExperimentConfig(_Frozen):
    """Everything that decides a result, and nothing that does not."""

    name: str = "geo-facts"
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
        if self.is_generation:
            self._check_generation()
        elif self.weak.adapter == "lora":
            raise ValueError(
                "weak.adapter: an expert is `head` or `top` on the shared trunk; `lora` is for the student"
            )
        for name in ("weak", "strong"):
            model: ModelConfig = getattr(self, name)
            if model.adapter == "top" and model.n_layers is not None and model.top_layers >= model.n_layers:
                raise ValueError(
                    f"{name}.top_layers ({model.top_layers}) must be below {name}.n_layers ({model.n_layers})"
                )
        if len(set(self.ensemble.methods)) != len(self.ensemble.methods):
            raise ValueError(f"ensemble.methods lists a method twice: {list(self.ensemble.methods)}")
        names = [r.name for r in self.students.recipes]
        if len(set(names)) != len(names):
            raise ValueError(f"students.recipes lists a recipe twice: {names}")
        return self

    @property
    def is_generation(self) -> bool:
        """Whether the task is answered in words."""
        return self.task.name in FREE_TASKS or (self.task.name == "files" and self.task.answer_form == "free")

    def _check_generation(self) -> None:
        for name in ("weak", "strong"):
            if getattr(self, name).adapter == "head":
                raise ValueError(f"{name}.adapter: {self.task.name} is answered in words; choose `top` or `lora`")
            if getattr(self, name).max_length <= self.generation.decoding.max_new_tokens:
                raise ValueError(
                    f"{name}.max_length ({getattr(self, name).max_length}) leaves no room for a prompt before "
                    f"generation.decoding.max_new_tokens ({self.generation.decoding.max_new_tokens})"
                )
        if self.generation.answer_by == "choices" and self.task.name not in ("arc-qa", "openbookqa"):
            raise ValueError(
                f"generation.answer_by: the questions of {self.task.name} have no options; choose `decode`"
            )
        if self.difficulty.source != "column":
            raise ValueError(f"difficulty.source: {self.task.name} has a difficulty of its own; choose `column`")
        if self.ensemble.vote == "hard":
            raise ValueError("ensemble.vote: next-token distributions are mixed; choose `soft` or `log`")
        for recipe in self.students.recipes:
            if (recipe.loss, recipe.labels) != ("xent", "hard"):
                raise ValueError(
                    f"students.recipes: {recipe.name} is for classes; pseudo-answers are learned with loss: xent and "
                    "labels: hard"
                )


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
        try:
            tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path}: there is no such configuration file; check the path") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{path}: the configuration cannot be read ({error}); give a readable UTF-8 YAML file"
            ) from None
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that the calendar lacks
            raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}; mend that line") from None
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
    key, sign, text = override.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"--set {override}: expected KEY=VALUE, for example --set ensemble.n_rounds=8")
    *parents, leaf = key.strip().split(".")
    node: Any = tree
    for part in parents:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override}: {part!r} is a single value and has no settings below it")
    try:
        node[leaf] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"--set {override}: {text!r} is not a YAML value; quote it") from None


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


def _explain(error: Any) -> str:
    location = list(error["loc"])
    name = ".".join(str(part) for part in location) or "configuration"
    if error["type"] == "extra_forbidden":
        valid = _fields_at(location)
        near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
        mend = f"did you mean {near[0]!r}?" if near else f"valid settings there: {', '.join(valid)}"
        return f"{name}: no such setting; {mend}"
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(error["input"], dict) else f", got {error['input']!r}"
    mend = ""
    if error["type"] == "string_type" and isinstance(error["input"], bool):
        mend = "; YAML reads a bare yes, no, on or off as true or false: put it in quotes"
    return f"{name}: {message[:1].lower() + message[1:]}{shown}{mend}"
