"""Settings of judges, which say which of several answers to a question is better."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ensemw2s.config.base import Count, Frozen, Text
from ensemw2s.tables import METHODS

PRINCIPLES = (
    "The better answer is the one that is true.",
    "The better answer is the one that an expert would give.",
    "The better answer is the one that a reference work would confirm.",
    "The better answer is the one that says exactly what was asked for.",
    "The better answer is the one that is less likely to be a guess.",
)


class JudgeConfig(Frozen):
    """Who judges answers in words: the strong model, which reads a question with an answer."""

    kind: Literal["none", "trained", "principles", "likelihood"] = "none"
    """`trained`: heads on its features, which learn true easy answers against wrong ones. `principles`: the untrained
    model is asked which of two answers is better by a sentence, in both orders. `likelihood`: that of an answer's
    tokens once it learned the easy answers."""
    n_judges: Count = 5
    """trained: members of the judges' ensemble."""
    method: str = "bagging"
    """trained: how they are made, a name in the table of ensemble methods."""
    n_negatives: Count = 4
    """trained: wrong answers to each easy question: samples of the first of `ensemble.methods`, then true answers to
    other questions."""
    principles: Annotated[tuple[Text, ...], Field(min_length=1)] = PRINCIPLES
    """principles: one sentence for each judge."""
    at_test: bool = False
    """Also the rows best of N and majority of N: of the strong model on easy labels and of the first recipe's students,
    `generation.samples` answers to each test question, of which a judge or the vote chooses one."""

    @field_validator("method")
    @classmethod
    def _method_known(cls, method: str) -> str:
        if method not in METHODS:
            raise ValueError(f"there is no {method!r}; choose among {', '.join(METHODS)}")
        return method

    @model_validator(mode="after")
    def _used(self) -> "JudgeConfig":
        if self.at_test and self.kind == "none":
            raise ValueError("at_test: nobody judges (kind: none); choose a kind, or leave it out")
        return self
