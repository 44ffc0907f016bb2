"""Settings of the task, of difficulty and of the split."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ensemw2s.config.base import Count, Fraction, Frozen


class TaskConfig(Frozen):
    name: Literal[
        "geo-facts", "arc", "files", "geo-countries", "reasoning", "arc-qa", "openbookqa", "gsm8k", "svamp"
    ] = "geo-facts"
    """Answered by a class: `geo-facts` (embedded), `arc`, `files` (your own data). Answered by a text:
    `geo-countries` and `reasoning` (embedded), `arc-qa`, `openbookqa`, `gsm8k`, `svamp`. All but the embedded ones
    read the file or folder at `path`."""
    path: str | None = None
    """A .json, .jsonl, .csv, .tsv (each also with .gz) or .parquet file, a folder saved by `datasets`, or a hub name as
    hub:OWNER/NAME."""
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
