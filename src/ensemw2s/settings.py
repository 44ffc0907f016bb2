"""Every setting with its meaning and its check, one class per section of the configuration file."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ensemw2s.names import Method
from ensemw2s.text import is_text

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]


class Frozen(BaseModel):
    """A section: immutable, strict about its keys, every attribute documented."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*")
    @classmethod
    def _unicode(cls, value: Any) -> Any:
        # Files, tokenizers and hashes take no others.
        each = value if isinstance(value, tuple) else (value,)
        if bad := [text for text in each if isinstance(text, str) and not is_text(text)]:
            raise ValueError(f"no Unicode text: {bad[0]!r} has a NUL or half a character; write it anew")
        return value


class TaskConfig(Frozen):
    name: Literal[
        "geo-facts", "arc", "files", "geo-countries", "reasoning", "arc-qa", "openbookqa", "gsm8k", "svamp"
    ] = "geo-facts"
    """Answered by a class: `geo-facts` (embedded), `arc`, `files` (your own data). Answered by a text:
    `geo-countries` and `reasoning` (embedded), `arc-qa`, `openbookqa`, `gsm8k`, `svamp`. All but the embedded ones
    read the file or folder at `path`."""
    path: str | None = None
    """A .jsonl, .csv or .parquet file, a folder saved by `datasets`, or a hub name as hub:OWNER/NAME."""
    split: str = "train"
    """The split of a hub name or of a `datasets` folder that has several; of a hub name also a slice or a sum, such
    as train[:20000] or train+test."""
    seed: int = 0
    """Of what the task itself draws (cities, wrong countries, candidate answers, puzzles)."""
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
    max_level: Count | None = None
    """reasoning: the hardest setting of the generator's dial; None takes all of them."""
    unlabelled: str | None = None
    """files: questions without answers, as `path`. They are the hard side and all of `path` is the easy one, so
    difficulty has no part; nothing that needs their true answers (ceiling, PGR) can be known."""
    unlabelled_split: str = "train"
    test: str | None = None
    """files, with `unlabelled`: labelled questions of that kind, as `path`; without it there is no OOD test."""
    test_split: str = "test"
    prompt: str = "{{ prompt }}"
    """files: the text that the model reads, a Jinja template over the columns; `row["its name"]` is any column."""
    answer: str = "answer"
    """files: the column of the true answer; where `choices` are given, true and false are the texts `true`, `false`."""
    options: tuple[str, ...] = ()
    """files, answer_form free: the column that lists a question's options, or the columns that hold one each;
    `choices.text` is the entry `text` of the column `choices`. The template reads them as `options`."""
    answer_as: Literal["text", "letter", "index", "number"] = "text"
    """files, with `options` or `choices`: how the answer names one of them; `index` counts from 0, `number` from 1."""
    right: str | None = None
    """files, with `wrong`: the column of a right answer. Every row becomes the question whether an answer is right:
    the template reads it as `candidate`, the right or a wrong one at even odds, and as `other` one of the other kind.
    The classes are `choices`, the wrong candidates' first; left out: no and yes. `answer` has no part."""
    wrong: tuple[str, ...] = ()
    """files, with `right`: the columns of wrong answers, of which one is drawn."""
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
        if self.name != "files" and (self.unlabelled or self.test or self.options or self.right or self.wrong):
            raise ValueError(
                f"unlabelled, test, options, right and wrong are for the task 'files', not {self.name!r}; leave them "
                "out"
            )
        if self.test and not self.unlabelled:
            raise ValueError(
                "test is given without unlabelled: one file alone is split by difficulty, with a test of its own; give "
                "the unlabelled questions, too, or leave test out"
            )
        if self.unlabelled and self.difficulty:
            raise ValueError("difficulty has no part where unlabelled is given; leave one of them out")
        if self.options and self.answer_form != "free":
            raise ValueError("options, which differ by question, are answered in words; set answer_form: free")
        if self.answer_as != "text" and not (self.options or self.choices):
            raise ValueError(
                f"answer_as: {self.answer_as} needs options or choices; name the options' columns, or list the classes"
            )
        self._check_pairs()
        return self

    def _check_pairs(self) -> None:
        if bool(self.right) != bool(self.wrong):
            raise ValueError("right and wrong belong together; name the columns of both, or of neither")
        if self.right and (self.answer_form == "free" or self.unlabelled or self.answer_as != "text"):
            raise ValueError(
                "right and wrong make labelled questions answered by a class; leave out answer_form: free, unlabelled "
                "and answer_as"
            )
        if self.right and len(self.choices) not in (0, 2):
            raise ValueError(f"choices must be two where right is given, a wrong candidate's first: {self.choices}")


class DifficultyConfig(Frozen):
    source: Literal["column", "entropy", "margin", "p_true"] = "column"
    """`column`: the task's own; `entropy`, `margin`: the weak model's cross-fitted, label-free uncertainty;
    `p_true`: its cross-fitted probability of the true label, which reads hard labels (the report says so). In words,
    per token: uncertainty along its own greedy answer, log-probability of the true one."""
    n_folds: Annotated[int, Field(ge=2)] = 5
    n_labelled: Count = 500
    """entropy, margin: examples whose labels train the raters; they take no further part in the run."""


class SplitConfig(Frozen):
    seed: int = 0
    """Of the split; the seeds of training are `seeds`."""
    kind: Literal["difficulty", "random"] = "difficulty"
    """`random` deals all examples alike, as in plain weak-to-strong experiments: the easy pool is the labelled half,
    the hard pool the unlabelled one, and the two tests are samples of one distribution."""
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


class ModelConfig(Frozen):
    model: str = "smollm2-135m"
    """A name that `ensemw2s fetch` knows, a hub id, a local folder, or `tiny` (random weights, for tests)."""
    revision: str | None = None
    n_layers: Count | None = None
    """Cut to the first layers; None keeps all."""
    adapter: Literal["head", "top", "lora", "full"] = "head"
    """What is trained: a classifier on the pooled feature, a copy of the upper layers too, LoRA, or every weight
    (embeddings and, in generation, the vocabulary head among them) in float32."""
    head_hidden: Annotated[int, Field(ge=0)] = 0
    """Width of the head's hidden layer; 0 is a linear head (which the library's own classes can load)."""
    top_layers: Count = 2
    """`top`: how many upper layers each expert owns."""
    lora_rank: Count = 8
    lora_alpha: Annotated[float, Field(gt=0)] = 16.0
    lora_layers: Count | None = None
    """`lora`: only on this many upper layers, over the shared and cached trunk; None is all layers."""
    lora_targets: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """`lora`: names of the linear layers that are updated, such as q_proj and v_proj; None is all of them."""
    chat: bool = False
    """Prompts are a user's turn in the tokenizer's chat template, answers the assistant's."""
    max_length: Count = 512
    """Tokens; a longer prompt is refused before any work."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the frozen weights, and what `full` computes in (its weights stay float32): `auto` is bfloat16 where the
    machine multiplies it fast."""
    trust_remote_code_from: str | None = None
    """Repository whose own code may run; it must equal `model`."""

    @model_validator(mode="after")
    def _trust_named(self) -> "ModelConfig":
        if self.trust_remote_code_from not in (None, self.model):
            raise ValueError(f"trust_remote_code_from must name the model itself ({self.model!r}) or be left out")
        return self

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides a training beside the weights, which their own fingerprint names: for keys of the store."""
        where = {"model", "revision", "max_length", "dtype", "trust_remote_code_from"}
        # Younger settings count only where they are used, so that what older stores hold stays good.
        unused = {name for name in ("lora_targets", "chat") if not getattr(self, name)}
        return self.model_dump(exclude=where | unused)


class TrainConfig(Frozen):
    epochs: Count = 10
    batch_size: Count = 64
    """Examples per optimiser step."""
    micro_batch_size: Count | Literal["auto"] | None = None
    """Examples per forward pass; None is the whole batch, `auto` halves that until it fits into memory. The gradients
    of a batch are added up, so it changes memory, not results."""
    gradient_checkpointing: bool = False
    """Keep only what enters each layer and compute the rest again for the gradient: a third more work, much less
    memory. `head` has no layers."""
    packing: bool = False
    """Put short sequences of a batch side by side instead of padding each to the longest: same gradients, less work
    where lengths differ much. Causal models; `head` reads no sequences."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_frac: Fraction = 0.1
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On the head's input (`head`, `top`, `full`) or in the low-rank branch (`lora`)."""
    init_std: Annotated[float, Field(ge=0)] = 0.02
    """Standard deviation of the head's initial weights: a source of diversity among experts."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    checkpoint_steps: Count = 25
    """`top`, `lora`, `full`: optimiser steps between a student's checkpoints. One holds what is trained and its two
    moments: with `full` three times the model in float32."""

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides the result of a training: for keys of the store."""
        return self.model_dump(exclude={"micro_batch_size", "checkpoint_steps", "gradient_checkpointing", "packing"})


class EnsembleConfig(Frozen):
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("single", "independent", "bagging", "boosting")
    """Also `subspace` and `layers`, for `weak.adapter: head` alone: members that each read a random share of the
    pooled feature's dimensions, or each a depth of their own."""
    n_rounds: Count = 8
    """T, for every method but `single`: equal cost."""
    feature_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """subspace: the share of the dimensions that a member reads."""
    layer_range: tuple[Count, Count] | None = None
    """layers: the first and the last depth, in layers, that members are dealt; None is the upper half of the weak
    model's."""
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

    @model_validator(mode="after")
    def _range_ascends(self) -> "EnsembleConfig":
        if self.layer_range and self.layer_range[0] > self.layer_range[1]:
            raise ValueError(
                f"layer_range must not descend, got {list(self.layer_range)}; give the first depth and then the last"
            )
        return self

    def depths(self, n_layers: int) -> range:
        """What `layers` deals to the members of a weak model of so many layers."""
        low, high = self.layer_range or (n_layers // 2 + 1, n_layers)
        return range(low, high + 1)

    def beyond(self, n_layers: int) -> str | None:
        """What is wrong where members of `layers` would read more layers than the weak model has."""
        if self.depths(n_layers)[-1] <= n_layers:
            return None
        return (
            f"ensemble.layer_range {list(self.layer_range or ())} exceeds the weak model's {n_layers} layers; lower "
            "it, or raise weak.n_layers"
        )


class DecodingConfig(Frozen):
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


class GenerationConfig(Frozen):
    """What only tasks with free answers have."""

    boost_unit: Literal["token", "sequence"] = "token"
    """What boosting weighs: answer tokens (the paper), or whole answers. One of these is wrong if any token is; with
    `answer_by: choices`, if another of the question's options is likelier."""
    count_trivial: bool = False
    """Count errors on the end token and on tokens without a letter or digit."""
    bootstrap: bool = False
    """Boosted experts after the first learn from a bootstrap draw of answers, too: a source of diversity."""
    init_noise: Annotated[float, Field(ge=0)] = 0.0
    """Noise on an expert's initial matrices, in units of their entries' standard deviation."""
    answer_by: Literal["decode", "choices"] = "decode"
    """Write the answer, or (arc-qa, openbookqa, files with `options`) take the question's likeliest option, by the mean
    log-likelihood of its tokens."""
    decoding: DecodingConfig = DecodingConfig()


class CacheConfig(Frozen):
    trunk_cache: Literal["auto", "memory", "disk", "off"] = "auto"
    """Where the trunk's activations live; `auto` is disk within the budget, else off (recomputed)."""
    budget_gib: Annotated[float, Field(gt=0)] = 20.0
    """Space that the activations of one model may take."""
    batch_tokens: Count = 2048
    """Tokens per forward pass of the trunk, padding included."""
    shard_rows: Count = 1024
    """Examples per shard: what a crash can cost."""
