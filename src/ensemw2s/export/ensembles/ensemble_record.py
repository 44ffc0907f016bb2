"""The typed record of a saved ensemble: what its experts are, what they read and how they vote."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.storage.records import Saved

FORMAT = 2


def untrusting(config: ModelConfig) -> ModelConfig:
    """The settings without the trusted code, which the next user decides anew."""
    return config.model_copy(update={"trust_remote_code_from": None})


class SavedModel(Saved):
    """A model of the experts. It names no trusted code; whoever opens the folder decides that."""

    config: ModelConfig
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Ensemble(Saved):
    """Fields of every saved ensemble."""

    format: Literal[2] = FORMAT
    method: str
    seed: int
    expert_ids: Annotated[tuple[str, ...], Field(min_length=1)]
    expert_weights: tuple[Annotated[float, Field(ge=0)], ...]
    prompt: str
    """Template of the experts' prompts."""
    weak: ModelConfig
    """The experts' model. It names no trusted code; whoever opens the folder decides that."""
    weak_fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    config_hash: str
    others: tuple[SavedModel, ...] = ()
    """Of a pool: the experts' models beside `weak`."""
    models: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Of a pool: the model of each expert; 0 is `weak`, k the k-th of `others`."""
    contexts: tuple[str, ...] | None = None
    """Text that each expert reads before a prompt; None: the experts read prompts alone."""
    is_prompted: bool = False
    """Whether the experts are the model itself: asked for its likelihood of the choices, or for its next token."""

    @model_validator(mode="after")
    def _weighted(self) -> "_Ensemble":
        if len(self.expert_weights) != len(self.expert_ids):
            raise ValueError(f"expert_weights has {len(self.expert_weights)} values for {len(self.expert_ids)} experts")
        if not sum(self.expert_weights) > 0:
            raise ValueError("expert_weights are all zero; one at least must be above")
        if self.models is not None and len(self.models) != len(self.expert_ids):
            raise ValueError(f"models has {len(self.models)} values for {len(self.expert_ids)} experts")
        if self.models is not None and set(self.models) != set(range(1 + len(self.others))):
            raise ValueError(f"models {list(self.models)} are not the numbers of {1 + len(self.others)} models")
        if self.models is None and self.others:
            raise ValueError("models is missing; it says which of several models each expert reads")
        if self.contexts is not None and len(self.contexts) != len(self.expert_ids):
            raise ValueError(f"contexts has {len(self.contexts)} texts for {len(self.expert_ids)} experts")
        if self.contexts is not None and (self.others or self.weak.chat):
            raise ValueError("contexts are read by one whole model without chat turns")
        if self.is_prompted and self.contexts is None:
            raise ValueError("contexts is missing; it is what experts read that are not trained")
        return self


class ChoiceEnsemble(_Ensemble):
    """A saved ensemble of classifiers."""

    answer_form: Literal["choice"] = "choice"
    vote: Literal["soft", "hard", "log", "gated"]
    """`gated`: the folder has a gate."""
    temperature: Annotated[float, Field(gt=0)]
    choices: Annotated[tuple[str, ...], Field(min_length=2)]
    depths: tuple[Annotated[int, Field(ge=1)] | None, ...] | None = None
    """Depth in layers after which each expert reads features, where the depths differ; None: after the last layer."""

    @model_validator(mode="after")
    def _consistent(self) -> "ChoiceEnsemble":
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices are not distinct: {list(self.choices)!r}")
        if self.vote == "gated" and self.models is not None:
            raise ValueError("vote: a gate reads one model, and there are several")
        if self.depths is not None and len(self.depths) != len(self.expert_ids):
            raise ValueError(f"depths has {len(self.depths)} values for {len(self.expert_ids)} experts")
        if self.contexts is not None and self.depths is not None:
            raise ValueError("contexts are read by a whole model, and depths are of parts of one")
        return self


class AnswerEnsemble(_Ensemble):
    """Experts that write answers together: token by token where they share a model, else by a vote on whole answers."""

    answer_form: Literal["free"] = "free"
    vote: Literal["soft", "hard", "log"]
    decoding: DecodingConfig

    @model_validator(mode="after")
    def _consistent(self) -> "AnswerEnsemble":
        for name, config in (("weak", self.weak), *((f"others.{k}", m.config) for k, m in enumerate(self.others))):
            if config.max_length <= self.decoding.max_new_tokens:
                raise ValueError(
                    f"{name}.max_length ({config.max_length}) leaves no token for a prompt beside "
                    f"decoding.max_new_tokens ({self.decoding.max_new_tokens})"
                )
            if config.is_tfidf:
                raise ValueError(f"{name}.model: tf-idf writes no answers; give a pretrained model")
        if (self.vote == "hard") > (self.models is not None) or (self.vote == "log") > (self.models is None):
            raise ValueError(f"vote: {self.vote} is not one of " + ("whole answers" if self.models else "tokens"))
        return self


EnsembleRecord = ChoiceEnsemble | AnswerEnsemble
KINDS = TypeAdapter(Annotated[EnsembleRecord, Field(discriminator="answer_form")])
"""Reads a record of either kind."""
TAGS = ("choice", "free")
"""What the kinds are called, as the places of wrong fields begin."""
