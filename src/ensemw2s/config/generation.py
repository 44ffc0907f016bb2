"""Settings of answers in text."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ensemw2s.config.base import Count, Frozen, Text

MIN_NEW_TOKENS = 24
"""`max_new_tokens: auto` is never below it."""
LINE_END = "\n"


class _Sampling(Frozen):
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 takes the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw among the likeliest tokens that hold this share of the probability."""
    batch_rows: Count = 32
    seed: int = 0
    """Of the draws."""


class DecodingConfig(_Sampling):
    """How answers are written, every setting known; kept with what was trained to be decoded so."""

    max_new_tokens: Count = MIN_NEW_TOKENS
    stop: tuple[Text, ...] = (LINE_END,)


class DecodingSettings(_Sampling):
    """How answers are written (generation)."""

    max_new_tokens: Count | Literal["auto"] = "auto"
    """`auto` has room for every training answer, its end token included, and is 24 at least."""
    stop: tuple[Text, ...] | Literal["auto"] = "auto"
    """Texts that end an answer; they are cut off. The model's own end token always does. `auto` is the end of a line,
    or nothing where a training answer has several lines. A text that a training answer holds is refused."""

    def fitted(self, answers: Sequence[str], longest: int) -> DecodingConfig:
        """With what `auto` stands for.

        Args:
            answers: of the training examples.
            longest: tokens of the longest of them, its end token included.
        """
        changes: dict[str, Any] = {}
        if self.max_new_tokens == "auto":
            changes["max_new_tokens"] = fitting_tokens(longest)
        if self.stop == "auto":
            changes["stop"] = () if any(LINE_END in answer for answer in answers) else (LINE_END,)
        return DecodingConfig.model_validate(self.model_dump() | changes)


def fitting_tokens(longest: int) -> int:
    """What `max_new_tokens: auto` is where the longest training answer has so many tokens."""
    return max(MIN_NEW_TOKENS, -(-longest // 8) * 8)


class RestartConfig(Frozen):
    """Samples that go on from the teacher's own answer, some of it taken back (worked solutions)."""

    marker: Text = "\nWait, let me check that.\n"
    """What stands between what is kept of the answer and what is written anew."""
    max_back: Annotated[int, Field(ge=0)] = 2
    """Lines taken back at most: of each sample 0 to so many, every number as likely."""


class GenerationConfig(Frozen):
    """What only tasks with free answers have."""

    younger: ClassVar[tuple[str, ...]] = ("samples", "sample_temperature", "restart")

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
    samples: Annotated[int, Field(ge=0)] = 0
    """Answers drawn from each teacher's mixture to every unlabelled question. Each is one more voter, of weight 1, to
    label models and selections."""
    sample_temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of these draws."""
    restart: RestartConfig | None = None
    """Worked solutions (`task.worked`): samples go on from the teacher's own greedy answer without its last lines, in
    the place of being written from the start; None writes them from the start."""
    decoding: DecodingSettings = DecodingSettings()

    @model_validator(mode="after")
    def _restarts_samples(self) -> "GenerationConfig":
        if self.restart and not self.samples:
            raise ValueError(
                "restart says how samples begin, and samples is 0; set samples to 4, say, or leave restart out"
            )
        return self
