"""The weak or the strong model of a run that generates answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from ensemw2s.config import CacheConfig, DecodingConfig, ModelConfig, TrainConfig
from ensemw2s.core.voting import Vote
from ensemw2s.data.encode import encode, encode_answers
from ensemw2s.ensemble.probes import check_answerer
from ensemw2s.ensemble.words.decode import Decoded, decode
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.errors import ConfigError
from ensemw2s.examples import Example
from ensemw2s.forms.role import Role, multiplying_weights
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.upper import own_layers
from ensemw2s.models.language import AnswerModel, load_answer_model, untrained_answer_model, vocabulary_head
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.vocabulary import VocabularyHead
from ensemw2s.records import AnswerTokens, Inputs, TensorStore


@dataclass(frozen=True)
class AnswerRole(Role):
    """A model whose adapter generates answers."""

    unembedding: VocabularyHead
    init_noise: float
    open: Callable[[Sequence[Sequence[int]]], Inputs]
    """Returns the trunk's activations of token sequences, through the store."""
    prompts: tuple[tuple[int, ...], ...] = ()
    """Token ids of every example of the split."""

    @property
    def head_weights(self) -> int:
        return self.unembedding.n_weights

    @property
    def trains_head(self) -> bool:
        if self.config.adapter != "full":
            return False
        is_tied = self.unembedding.weight is self.backbone.model.get_input_embeddings().weight
        return self.config.train_embeddings or not is_tied

    @property
    def fingerprint(self) -> dict[str, object]:
        return {**super().fingerprint, "init_noise": self.init_noise}

    def builder(self, training: TrainConfig) -> Callable[[Generator], AnswerModel]:
        """A function that builds an untrained model; its initial weights come from the generator."""
        return lambda generator: AnswerModel(
            self.backbone,
            self.unembedding,
            self.config,
            dropout=training.dropout,
            init_noise=self.init_noise,
            generator=generator,
        )

    def load(self, states: Sequence[dict[str, Tensor]]) -> list[AnswerModel]:
        """Trained models from their states; where there is none, the pretrained one in the form of a member."""
        parts = self.backbone, self.unembedding, self.config
        return [load_answer_model(*parts, s) if s else untrained_answer_model(*parts) for s in states or [{}]]

    def asked(self, examples: Sequence[Example], decoding: DecodingConfig, *, begun: int = 0) -> "AnswerRole":
        """The role with the prompts of these examples.

        Args:
            begun: tokens of an answer that the model may read before it writes on.

        Raises:
            DataError: a prompt leaves no room for an answer.
        """
        prompts = encode(
            self.backbone.tokenizer,
            [e.prompt for e in examples],
            max_length=self.config.max_length,
            positions=self.backbone.positions,
            room=begun + decoding.max_new_tokens,
            names=[e.id for e in examples],
            chat=self.config.chat,
        )
        return replace(self, prompts=tuple(tuple(p) for p in prompts))

    def write(
        self,
        models: Sequence[AnswerModel],
        expert_weights: Float[Tensor, " experts"],
        rows: Int[Tensor, " rows"],
        config: DecodingConfig,
        row_ids: Sequence[str],
        vote: Vote,
    ) -> list[Decoded]:
        """The models' common answers to examples of the split."""
        members = SharedTrunk(self.backbone, models)
        prompts = [self.prompts[row] for row in rows.tolist()]
        return decode(members, expert_weights, self.backbone.tokenizer, prompts, config, vote=vote, row_ids=row_ids)

    def answers(self, rows: Int[Tensor, " rows"], texts: Sequence[str], names: Sequence[str]) -> AnswerTokens:
        """Prompts of the split with these answers; `names` are those of the rows. Raises DataError."""
        return encode_answers(
            self.backbone.tokenizer,
            [self.prompts[r] for r in rows.tolist()],
            texts,
            max_length=self.config.max_length,
            positions=self.backbone.positions,
            names=names,
            chat=self.config.chat,
        )

    def option_answers(
        self, rows: Int[Tensor, " rows"], options: Sequence[Sequence[str]], names: Sequence[str]
    ) -> AnswerTokens:
        """Prompts of the split with each of their options in turn. Raises DataError."""
        owner = torch.repeat_interleave(rows, torch.tensor([len(each) for each in options]))
        texts = [option for each in options for option in each]
        return self.answers(owner, texts, [name for name, each in zip(names, options, strict=True) for _ in each])


def load_role(
    model: ModelConfig,
    cache: CacheConfig,
    store: TensorStore,
    on_tokens: Callable[[str, int], None],
    init_noise: float,
) -> AnswerRole:
    """Load and probe a model; it has no prompts yet.

    Raises:
        ModelError, ConfigError: it cannot be used as configured.
    """
    backbone = load_backbone(model)
    n_own = own_layers(model, backbone.n_layers)
    if n_own > backbone.n_layers or (model.adapter == "top" and n_own == backbone.n_layers):
        raise ConfigError(
            f"{model.model}: {n_own} own upper layers of {backbone.n_layers} leave no trunk; lower top_layers or "
            "lora_layers"
        )
    unembedding = vocabulary_head(backbone)
    check_answerer(backbone, model)
    below = model
    if model.adapter != "full":
        below = model.model_copy(update={"adapter": "top", "top_layers": n_own, "n_layers": backbone.n_layers})

    def open_(ids: Sequence[Sequence[int]]) -> Inputs:
        return open_activations(
            backbone, ids, config=below, cache=cache, store=store, on_tokens=lambda n: on_tokens(model.model, n)
        )

    whole = multiplying_weights(backbone)
    trunk = multiplying_weights(backbone.cut(backbone.n_layers - n_own)) if n_own < backbone.n_layers else 0
    return AnswerRole(model, backbone, 2.0 * trunk, 2.0 * (whole - trunk), unembedding, init_noise, open_)
