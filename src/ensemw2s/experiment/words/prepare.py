"""Everything that must be right before a generation experiment starts: task, split, both models, the easy answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from ensemw2s.config import DecodingConfig, ExperimentConfig, ModelConfig, TrainConfig
from ensemw2s.core.voting import Vote
from ensemw2s.data.encode import encode, encode_answers
from ensemw2s.data.splits import Split
from ensemw2s.ensemble.decode import Decoded, decode
from ensemw2s.ensemble.members import SharedTrunk
from ensemw2s.ensemble.write import choose_answers
from ensemw2s.errors import ConfigError
from ensemw2s.experiment.prepare import check
from ensemw2s.experiment.store import Store
from ensemw2s.models.activations import JoinedInputs, open_activations
from ensemw2s.models.language import AnswerModel, load_answer_model, own_layers
from ensemw2s.models.load import Backbone, load_backbone, unembedding_rows
from ensemw2s.types import AnswerTokens, Inputs, Task


@dataclass(frozen=True)
class AnswerSide:
    """The weak or the strong model of a run that answers in words."""

    config: ModelConfig
    backbone: Backbone
    """Cut to the layers that this side uses."""
    unembedding: Float[Tensor, "vocab dim"]
    init_noise: float
    open: Callable[[Sequence[Sequence[int]]], Inputs]
    """Trunk activations of token sequences, through the store."""
    flops_per_token: float
    """Of one forward pass through the trunk: twice its weights that multiply."""
    prompts: tuple[tuple[int, ...], ...]
    """Of every example of the split."""

    def builder(self, training: TrainConfig) -> Callable[[Generator], AnswerModel]:
        """What makes a fresh trainable module of this side from a generator."""
        return lambda generator: AnswerModel(
            self.backbone,
            self.unembedding,
            self.config,
            dropout=training.dropout,
            init_noise=self.init_noise,
            generator=generator,
        )

    def load(self, states: Sequence[dict[str, Tensor]]) -> list[AnswerModel]:
        """Trained modules from their states."""
        return [load_answer_model(self.backbone, self.unembedding, self.config, state) for state in states]

    def untrained(self) -> AnswerModel:
        """The pretrained model, cut to this side's layers, in the form of a member."""
        return AnswerModel(self.backbone, self.unembedding, self.config, generator=Generator()).eval()

    def write(
        self,
        models: Sequence[AnswerModel],
        expert_weights: Float[Tensor, " experts"],
        rows: Int[Tensor, " rows"],
        config: DecodingConfig,
        row_ids: Sequence[str],
        vote: Vote,
    ) -> list[Decoded]:
        """These members' common answers to examples of the split."""
        members = SharedTrunk(self.backbone, models)
        prompts = [self.prompts[row] for row in rows.tolist()]
        return decode(members, expert_weights, self.backbone.tokenizer, prompts, config, vote=vote, row_ids=row_ids)

    def choose(
        self,
        models: Sequence[AnswerModel],
        expert_weights: Float[Tensor, " experts"],
        rows: Int[Tensor, " rows"],
        options: Sequence[Sequence[str]],
        vote: Vote,
    ) -> list[dict[str, Any]]:
        """The likeliest option of examples of the split."""
        prompts = [self.prompts[row] for row in rows.tolist()]
        members = SharedTrunk(self.backbone, models)
        return choose_answers(members, expert_weights, self.backbone.tokenizer, prompts, options, vote=vote)

    def answers(self, rows: Int[Tensor, " rows"], texts: Sequence[str], names: Sequence[str]) -> AnswerTokens:
        """Prompts of the split with these answers; `names` are those of the rows. Raises DataError."""
        return encode_answers(
            self.backbone.tokenizer,
            [self.prompts[r] for r in rows.tolist()],
            texts,
            max_length=self.config.max_length,
            names=names,
        )

    @property
    def fingerprint(self) -> dict[str, object]:
        """What of this side decides a training: the weights, the cut, the arithmetic, the adapter and the noise."""
        settings = self.config.model_dump(
            exclude={"model", "revision", "max_length", "dtype", "trust_remote_code_from"}
        )
        return {
            **settings,
            "weights": self.backbone.fingerprint,
            "dtype": str(self.backbone.dtype),
            "init_noise": self.init_noise,
        }

    def describe(self) -> str:
        """One phrase for the report."""
        n = own_layers(self.config, self.backbone)
        which = "all" if n == self.backbone.n_layers else f"the upper {n}"
        how = f"own copies of {which} layers" if self.config.adapter == "top" else f"LoRA on {which} layers"
        return f"{self.config.model}, first {self.backbone.n_layers} layers, {how}"


@dataclass(frozen=True)
class AnswerPrepared:
    """A validated generation experiment, ready to train."""

    config: ExperimentConfig
    task: Task
    split: Split
    weak: AnswerSide
    strong: AnswerSide

    @property
    def names(self) -> list[str]:
        return [e.id for e in self.split.examples]

    def options(self, rows: Int[Tensor, " rows"]) -> list[tuple[str, ...]]:
        """The options of these questions, which have some (`generation.answer_by: choices`)."""
        return [self.split.examples[row].choices or () for row in rows.tolist()]

    @property
    def easy_texts(self) -> list[str]:
        """True answers of the easy pool, which comes first in the split."""
        return [self.task.choices[k] for k in self.split.easy_labels.tolist()]


def prepare_answers(config: ExperimentConfig, store: Store, on_tokens: Callable[[str, int], None]) -> AnswerPrepared:
    """Load, split, encode; every prompt and easy answer is checked before any training.

    Raises:
        DataError, ModelError, ConfigError: naming what to mend.
    """
    task, split = check(config)
    assert split is not None  # the configuration asks for a task's own difficulty
    weak = _side(config.weak, config, split, store, on_tokens, config.generation.init_noise)
    same = config.weak == config.strong and not config.generation.init_noise
    strong = weak if same else _side(config.strong, config, split, store, on_tokens, 0.0)
    prepared = AnswerPrepared(config, task, split, weak, strong)
    rows = torch.arange(len(split.easy_labels))
    for side in (weak, strong):
        side.answers(rows, prepared.easy_texts, prepared.names[: len(rows)])
    return prepared


def join(first: AnswerTokens, second: AnswerTokens) -> AnswerTokens:
    """The rows of both, one set after the other."""
    return AnswerTokens(first.ids + second.ids, first.prompt_lengths + second.prompt_lengths)


def joined_inputs(first: Inputs, second: Inputs) -> Inputs:
    """What belongs to `join`."""
    return JoinedInputs((first, second))


def _side(
    model: ModelConfig,
    config: ExperimentConfig,
    split: Split,
    store: Store,
    on_tokens: Callable[[str, int], None],
    init_noise: float,
) -> AnswerSide:
    backbone = load_backbone(model)
    n_own = own_layers(model, backbone)
    if n_own > backbone.n_layers or (model.adapter == "top" and n_own == backbone.n_layers):
        raise ConfigError(
            f"{model.model}: {n_own} own upper layers of {backbone.n_layers} leave no trunk; lower top_layers or "
            "lora_layers"
        )
    unembedding = backbone.unembedding
    if unembedding is None:
        unembedding = unembedding_rows(model).to(backbone.device, backbone.dtype)
    below = model.model_copy(update={"adapter": "top", "top_layers": n_own, "n_layers": backbone.n_layers})

    def open_(ids: Sequence[Sequence[int]]) -> Inputs:
        return open_activations(
            backbone,
            ids,
            config=below,
            cache=config.cache,
            store=store,
            on_tokens=lambda n: on_tokens(model.model, n),
        )

    prompts = encode(
        backbone.tokenizer,
        [e.prompt for e in split.examples],
        max_length=model.max_length - config.generation.decoding.max_new_tokens,
        names=[e.id for e in split.examples],
    )
    trunk = backbone.cut(backbone.n_layers - n_own) if n_own < backbone.n_layers else None
    return AnswerSide(
        model,
        backbone,
        unembedding,
        init_noise,
        open_,
        0.0 if trunk is None else 2.0 * _weights(trunk),
        tuple(tuple(p) for p in prompts),
    )


def _weights(trunk: Backbone) -> int:
    embeddings = {id(p) for p in trunk.model.get_input_embeddings().parameters()}
    return sum(p.numel() for p in trunk.model.parameters() if id(p) not in embeddings and p.ndim > 1)
