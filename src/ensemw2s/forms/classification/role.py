"""The weak or the strong model of a run of classes, with what its adapter reads of every example."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from ensemw2s.config import CacheConfig, ModelConfig, TrainConfig
from ensemw2s.data.encode import encode
from ensemw2s.ensemble.learners.prompted import OFFSET
from ensemw2s.examples import Example
from ensemw2s.forms.role import Role, multiplying_weights
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import Adapter, build_adapter, n_trainable, n_used
from ensemw2s.models.adapting.upper import own_layers
from ensemw2s.models.inputs import PooledInputs
from ensemw2s.models.likelihood import choice_likelihood
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.pooled import of_text
from ensemw2s.records import Inputs, TensorStore


@dataclass(frozen=True)
class ClassRole(Role):
    """A model whose adapter classifies."""

    inputs: Inputs
    """What the adapter reads of every example of the split."""
    pooled: Inputs
    """The untrained model's pooled feature of every example, by which selections compare texts."""
    last: Inputs | None
    """The untrained model's state of every example's last token, for zero-shot scoring; recomputed where not cached.
    None of a model that reads no text."""
    at_depth: Mapping[int, Inputs] = field(default_factory=dict[int, Inputs])
    """As `inputs`, after fewer layers, by their number: read by ensemble members with a depth of their own."""

    @property
    def checkpoint(self) -> str:
        """Fingerprint of the weights."""
        return self.trunk.fingerprint

    @property
    def n_layers(self) -> int:
        return self.trunk.n_layers

    @property
    def lengths(self) -> Int[Tensor, " examples"]:
        """Tokens of each prompt."""
        return self.inputs.lengths

    def owned_by(self, state: Mapping[str, Tensor]) -> int:
        """Trained parameters of an expert that it uses; none where nothing was trained."""
        return 0 if state.keys() == {OFFSET} else n_used(state)

    def n_owned(self, training: TrainConfig, n_classes: int) -> int:
        """Trained parameters of an expert that reads all."""
        return n_trainable(self.builder(training, n_classes)(Generator()))

    def describe(self) -> str:
        return super().describe() + self.trunk.feature_text

    def builder(self, training: TrainConfig, n_classes: int) -> Callable[[Generator], Adapter]:
        """A function that builds an untrained adapter; its initial weights come from the generator."""
        return lambda generator: build_adapter(
            self.config,
            self.trunk,
            n_classes,
            dropout=training.dropout,
            init_std=training.init_std,
            generator=generator,
        )

    def features(self, rows: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        """The untrained model's pooled feature of each prompt."""
        return vectors(self.pooled, rows)

    def zero_shot(self, choices: Sequence[str], rows: Int[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
        """The untrained model's log-probabilities: each choice is scored by its first token after the prompt.

        Raises:
            ModelError: two choices begin with the same token, or the model has no output embedding, or reads no text.
        """
        config, backbone = self.config, of_text(self.trunk, "an answer without training")
        assert self.last is not None, "read of every text"
        likelihood = choice_likelihood(backbone, config.model, choices, chat=config.chat)
        return likelihood(vectors(self.last, rows))


def vectors(inputs: Inputs, rows: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
    """Pooled features of these rows."""
    return torch.cat([inputs.batch(part)[0][:, 0].float() for part in rows.split(512)])


def encoded(backbone: Backbone, examples: Sequence[Example], config: ModelConfig) -> list[list[int]]:
    """Token ids of every prompt. Raises DataError for one that is longer than the model reads."""
    return encode(
        backbone.tokenizer,
        [e.prompt for e in examples],
        max_length=config.max_length,
        positions=backbone.positions,
        names=[e.id for e in examples],
        chat=config.chat,
    )


def opened(
    backbone: Backbone,
    ids: list[list[int]],
    model: ModelConfig,
    cache: CacheConfig,
    store: TensorStore,
    on_tokens: Callable[[str, int], None],
) -> Inputs:
    """What the model's adapter reads of these token ids, cached as configured."""
    cut = backbone.cut(model.n_layers or backbone.n_layers)
    return open_activations(
        cut, ids, config=model, cache=cache, store=store, on_tokens=lambda n: on_tokens(model.model, n)
    )


def make_role(
    model: ModelConfig,
    backbone: Backbone,
    inputs: Inputs,
    ids: list[list[int]],
    cache: CacheConfig,
    store: TensorStore,
    at_depth: Mapping[int, Inputs] | None = None,
) -> ClassRole:
    """The role of a model whose inputs are opened."""
    cut = backbone.cut(model.n_layers or backbone.n_layers)
    off, head = cache.model_copy(update={"trunk_cache": "off"}), model.model_copy(update={"adapter": "head"})
    pooled = inputs if model.adapter == "head" else open_activations(cut, ids, config=head, cache=off, store=store)
    if "last" in cut.pooling and isinstance(pooled, PooledInputs):
        last = pooled.part(cut.pooling.index("last"), cut.output_size)
    else:
        last = open_activations(replace(cut, pooling=("last",)), ids, config=head, cache=off, store=store)
    flops = 2.0 * multiplying_weights(cut)
    share = own_layers(model, cut.n_layers) / cut.n_layers
    return ClassRole(
        config=model,
        trunk=cut,
        trunk_flops=(1.0 - share) * flops,
        own_flops=share * flops,
        inputs=inputs,
        pooled=pooled,
        last=last,
        at_depth=at_depth or {},
    )
