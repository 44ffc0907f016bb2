"""The weak or the strong model of a run, with what it reads of every example."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from ensemw2s.config import ExperimentConfig, ModelConfig, TrainConfig
from ensemw2s.data.encode import encode
from ensemw2s.errors import ModelError
from ensemw2s.examples import Example
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapters import Adapter, build_adapter
from ensemw2s.models.loading.load import Backbone
from ensemw2s.models.upper import own_layers
from ensemw2s.prompting import answer_text
from ensemw2s.records import Inputs
from ensemw2s.storage.store import Store


@dataclass(frozen=True)
class Side:
    """The weak or the strong model of a run, with what its adapter reads for every example of the split."""

    config: ModelConfig
    backbone: Backbone
    """Cut to the layers that this side uses."""
    inputs: Inputs
    pooled: Inputs
    """The final-normed feature of every example, for zero-shot scoring; recomputed at need where not cached."""
    flops_per_token: float
    """Of one forward pass through the trunk: twice its weights that multiply."""
    at_depth: Mapping[int, Inputs] = field(default_factory=dict[int, Inputs])
    """As `inputs`, after fewer layers: what members of an ensemble with a depth of their own read."""

    def builder(self, training: TrainConfig, n_classes: int) -> Callable[[Generator], Adapter]:
        """What makes a fresh trainable module of this side from a generator."""
        return lambda generator: build_adapter(
            self.config,
            self.backbone,
            n_classes,
            dropout=training.dropout,
            init_std=training.init_std,
            generator=generator,
        )

    @property
    def fingerprint(self) -> dict[str, object]:
        """What of this side decides a training: the weights, the cut, the arithmetic and the adapter."""
        return {**self.config.deciding, "weights": self.backbone.fingerprint, "dtype": str(self.backbone.dtype)}

    def describe(self) -> str:
        """One phrase for the report."""
        n = own_layers(self.config, self.backbone)
        parts = {
            "head": "a trained head",
            "top": f"{self.config.top_layers} trained upper layers",
            "lora": f"LoRA on {'all' if n == self.backbone.n_layers else f'the upper {n}'} layers",
            "full": "all weights trained",
        }
        hidden = f" with {self.config.head_hidden} hidden units" if self.config.head_hidden else ""
        return f"{self.config.model}, first {self.backbone.n_layers} layers, {parts[self.config.adapter]}{hidden}"


def zero_shot(side: Side, choices: tuple[str, ...], rows: Int[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
    """The untrained model's log-probabilities: each choice scored by its first token after the prompt.

    Raises:
        ModelError: two choices begin with the same token, or the model has no output embedding.
    """
    texts = [answer_text(choice, chat=side.config.chat) for choice in choices]
    first = [side.backbone.tokenizer(text, add_special_tokens=False)["input_ids"][:1] for text in texts]
    tokens = [ids[0] if ids else -1 for ids in first]
    if len(set(tokens)) < len(tokens):
        raise ModelError(
            f"{side.config.model}: zero-shot scoring needs choices that begin with different tokens, got "
            f"{list(choices)}"
        )
    head = side.backbone.unembedding
    if head is None:
        raise ModelError(
            f"{side.config.model}: no output embedding in its checkpoint, so it cannot be scored zero-shot; use a "
            "causal language model"
        )
    if outside := [token for token in tokens if not 0 <= token < len(head.weight)]:
        raise ModelError(
            f"{side.config.model}: token {outside[0]} is outside its vocabulary of {len(head.weight)}; encode with its "
            "own tokenizer"
        )
    with torch.no_grad():
        return head.of_tokens(pooled(side, rows), torch.tensor(tokens)).log_softmax(-1)


def pooled(side: Side, rows: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
    """The untrained model's feature of each prompt."""
    return torch.cat([side.pooled.batch(part)[0][:, 0].float() for part in rows.split(512)])


def encoded(backbone: Backbone, examples: tuple[Example, ...], config: ModelConfig) -> list[list[int]]:
    names = [e.id for e in examples]
    prompts = [e.prompt for e in examples]
    return encode(
        backbone.tokenizer,
        prompts,
        max_length=config.max_length,
        positions=backbone.positions,
        names=names,
        chat=config.chat,
    )


def opened(
    backbone: Backbone,
    ids: list[list[int]],
    model: ModelConfig,
    config: ExperimentConfig,
    store: Store,
    on_tokens: Callable[[str, int], None],
) -> Inputs:
    cut = backbone.cut(model.n_layers or backbone.n_layers)
    return open_activations(
        cut, ids, config=model, cache=config.cache, store=store, on_tokens=lambda n: on_tokens(model.model, n)
    )


def make_side(
    model: ModelConfig,
    backbone: Backbone,
    inputs: Inputs,
    ids: list[list[int]],
    config: ExperimentConfig,
    store: Store,
) -> Side:
    cut = backbone.cut(model.n_layers or backbone.n_layers)
    pooled = inputs
    if model.adapter != "head":
        off = config.cache.model_copy(update={"trunk_cache": "off"})
        pooled = open_activations(cut, ids, config=model.model_copy(update={"adapter": "head"}), cache=off, store=store)
    embeddings = {id(p) for p in cut.model.get_input_embeddings().parameters()}
    weights = sum(p.numel() for p in cut.model.parameters() if id(p) not in embeddings and p.ndim > 1)
    return Side(model, cut, inputs, pooled, 2.0 * weights)
