"""Expert or student of generation: a causal model's trained upper layers and its vocabulary head."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.adapting.adapters import load_owned
from ensemw2s.models.adapting.upper import add_lora, computing_in, own_layers, own_model, own_weights, upper_layers
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.passes import run_model
from ensemw2s.models.vocabulary import VocabularyHead


def vocabulary_head(backbone: Backbone) -> VocabularyHead:
    """The backbone's vocabulary head, on its device.

    Raises:
        ModelError: it is an encoder, or was saved without its vocabulary head.
    """
    if not backbone.is_causal:
        raise ModelError(f"{backbone.name}: an encoder does not generate; use a causal language model")
    if backbone.unembedding is None:
        raise ModelError(
            f"{backbone.name}: the checkpoint of this {type(backbone.model).__name__} has no vocabulary head that could"
            " be applied to its states, so it cannot write; use a causal language model, saved whole"
        )
    return backbone.unembedding.to(backbone.device)


class AnswerModel(nn.Module):
    """Next-token logits from the trunk's activations: the upper layers are trained, the vocabulary head is not.

    The head, with whatever the family does to its logits, is shared and applied only where it is needed: in training
    and scoring at positions before an answer token, in decoding at the last one. With `adapter: full` there is no
    trunk: the model reads token ids, and a head of the checkpoint's own is trained, too. A head that is tied to the
    embeddings is trained with them (`train_embeddings`), or frozen and shared with them: if the head alone went on, it
    would be untied, and the exported student another model than the checkpoint's.

    Args:
        backbone: backbone cut to the layers that are used.
        unembedding: its `vocabulary_head`.
        config: `adapter: top` trains a float32 copy of the upper layers that `own_layers` counts, `lora` low-rank
            updates on them, `full` a float32 copy of the model.
        dropout: dropout in the low-rank branch.
        init_noise: standard deviation of Gaussian noise added to every trained matrix, relative to the standard
            deviation of its entries (for `lora` noise on B, relative to A). A source of diversity.

    Raises:
        ModelError: its upper layers cannot be run from activations.
    """

    def __init__(
        self,
        backbone: Backbone,
        unembedding: VocabularyHead,
        config: ModelConfig,
        *,
        dropout: float = 0.0,
        init_noise: float = 0.0,
        generator: Generator,
    ):
        super().__init__()
        self._shared = (unembedding,)  # in a tuple: no parameter, no buffer, no part of any state
        self.owns_all = config.adapter == "full"
        """Whether it has all layers and reads token ids."""
        self.own_head: VocabularyHead | None = None
        """The vocabulary head where any of it is trained."""
        self.first_layer = backbone.n_layers - own_layers(config, backbone.n_layers)
        """Number of trunk layers below it."""
        self._dtype = backbone.dtype if self.owns_all else torch.float32
        if self.owns_all:
            self.upper = own_model(backbone.model, train_embeddings=config.train_embeddings)
            head = unembedding.own(_embeddings(backbone.model), _embeddings(self.upper))
            self.own_head = head if any(p.requires_grad for p in head.parameters()) else None
        else:
            self.upper = upper_layers(backbone, own_layers(config, backbone.n_layers))
            if config.adapter == "top":
                own_weights(self.upper)
            else:
                add_lora(self.upper, config, dropout, generator)
        if init_noise:
            self._add_noise(init_noise, generator)

    def hidden(
        self,
        values: Float[Tensor, "batch length dim"] | Int[Tensor, "batch length"],
        mask: Int[Tensor, "batch whole"],
        *,
        positions: Int[Tensor, "batch length"] | None = None,
        cache: DynamicCache | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        """Hidden states after the final norm; with a `cache` of earlier tokens, `mask` covers those, too."""
        device, dtype = self.upper.device, next(self.upper.parameters()).dtype
        if positions is not None:
            positions = positions.to(device)
        values = values.to(device) if self.owns_all else values.to(device, dtype)
        with computing_in(self._dtype, device):
            if cache is None:
                return run_model(self.upper, values, mask.to(device))
            output = self.upper(
                **{"input_ids" if self.owns_all else "inputs_embeds": values},
                attention_mask=mask.to(device),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
        return output.last_hidden_state

    @property
    def head(self) -> VocabularyHead:
        """The vocabulary head, its own or the shared one."""
        return self._shared[0] if self.own_head is None else self.own_head

    @property
    def unembedding(self) -> Float[Tensor, "vocab dim"]:
        """Matrix of the vocabulary head, in the dtype in which it is multiplied."""
        weight = self.head.weight
        return weight.to(self._dtype) if self.owns_all else weight

    def logits(self, hidden: Float[Tensor, "positions dim"]) -> Float[Tensor, "positions vocab"]:
        """Next-token logits at these positions."""
        if self.head.is_plain:
            unembedding = self.unembedding
            return nn.functional.linear(hidden.to(unembedding.dtype), unembedding)
        with computing_in(self._dtype if self.owns_all else torch.float32, self.upper.device):
            return self.head(hidden)

    def _add_noise(self, scale: float, generator: Generator) -> None:
        with torch.no_grad():
            owned = {n: p for n, p in self.named_parameters() if p.requires_grad and p.ndim == 2}
            for name, parameter in owned.items():
                if "lora_A" in name:
                    continue
                spread = (owned[name.replace("lora_B", "lora_A")] if "lora_B" in name else parameter).std()
                drawn = torch.randn(parameter.shape, generator=generator)  # on the CPU, so that seeds mean one thing
                parameter += scale * spread * drawn.to(parameter)


def member_logits(
    models: Sequence[AnswerModel], states: Float[Tensor, "members positions dim"]
) -> Float[Tensor, "members positions vocab"]:
    """Next-token logits of each member, in float32. A shared head is applied once to the states of all members."""
    if models[0].own_head is not None:
        return torch.stack([model.logits(state).float() for model, state in zip(models, states, strict=True)])
    return models[0].logits(states.flatten(0, 1)).float().unflatten(0, states.shape[:2])


def load_answer_model(
    backbone: Backbone, unembedding: VocabularyHead, config: ModelConfig, state: dict[str, Tensor]
) -> AnswerModel:
    """A trained answer model from its `owned_state`, in evaluation mode. Raises ModelError."""
    model = untrained_answer_model(backbone, unembedding, config)
    load_owned(model, state)
    return model


def untrained_answer_model(backbone: Backbone, unembedding: VocabularyHead, config: ModelConfig) -> AnswerModel:
    """The pretrained model in the form of a trained one, in evaluation mode."""
    return AnswerModel(backbone, unembedding, config, generator=torch.Generator()).eval()


def _embeddings(model: PreTrainedModel) -> Tensor:
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight
