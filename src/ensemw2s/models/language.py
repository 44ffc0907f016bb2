"""A causal model's upper layers and vocabulary head, trained to answer: an expert or a student of generation."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from transformers import DynamicCache

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.adapters import load_owned
from ensemw2s.models.load import Backbone
from ensemw2s.models.upper import add_lora, computing_in, own_layers, own_model, own_weights, upper_layers


class AnswerModel(nn.Module):
    """Next-token logits from the trunk's activations: the upper layers are trained, the vocabulary head is not.

    The head (the pretrained output embedding) is shared and is applied only to the positions asked for: in training
    and scoring those before an answer token, in decoding the last one. With `adapter: full` there is no trunk: token
    ids are read, and embeddings and head are trained too (as one matrix where the model ties them).

    Args:
        backbone: cut to the layers that this side uses.
        config: `adapter: top` owns a float32 copy of `own_layers(config, backbone)` upper layers, `lora` low-rank
            updates on them, `full` a float32 copy of the whole model.
        dropout: within the low-rank branch.
        init_noise: standard deviation of Gaussian noise added to every owned matrix, in units of the standard
            deviation of its entries (for `lora`, of B, in units of A's): a source of diversity.

    Raises:
        ModelError: the model is no causal language model, or its upper layers cannot be run from activations.
    """

    def __init__(
        self,
        backbone: Backbone,
        unembedding: Float[Tensor, "vocab dim"],
        config: ModelConfig,
        *,
        dropout: float = 0.0,
        init_noise: float = 0.0,
        generator: Generator,
    ):
        super().__init__()
        if not backbone.is_causal:
            raise ModelError(f"{backbone.name}: an encoder does not generate; use a causal language model")
        self._unembedding = unembedding.detach()  # shared: no parameter, no buffer, no part of any state
        self.owns_all = config.adapter == "full"
        """Reads token ids, and has a vocabulary head of its own."""
        self._dtype = backbone.dtype if self.owns_all else torch.float32
        if self.owns_all:
            self.upper = own_model(backbone.model)
            is_tied = backbone.unembedding is not None
            self.own_unembedding = None if is_tied else nn.Parameter(unembedding.detach().clone().float())
        else:
            self.upper = upper_layers(backbone, own_layers(config, backbone))
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
        """Final-normed states; with a `cache` of earlier tokens, `mask` covers those too."""
        device, dtype = self.upper.device, next(self.upper.parameters()).dtype
        if positions is not None:
            positions = positions.to(device)
        read = {"input_ids": values.to(device)} if self.owns_all else {"inputs_embeds": values.to(device, dtype)}
        with computing_in(self._dtype, device):
            output = self.upper(
                **read,
                attention_mask=mask.to(device),
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        return output.last_hidden_state

    @property
    def unembedding(self) -> Float[Tensor, "vocab dim"]:
        """The vocabulary head, in the dtype that it is multiplied in."""
        if not self.owns_all:
            return self._unembedding
        weight = self.upper.get_input_embeddings().weight if self.own_unembedding is None else self.own_unembedding
        assert isinstance(weight, Tensor)
        return weight.to(self._dtype)

    def logits(self, hidden: Float[Tensor, "positions dim"]) -> Float[Tensor, "positions vocab"]:
        """Next-token logits at these positions."""
        unembedding = self.unembedding
        return nn.functional.linear(hidden.to(unembedding.dtype), unembedding)

    def _add_noise(self, scale: float, generator: Generator) -> None:
        with torch.no_grad():
            owned = {n: p for n, p in self.named_parameters() if p.requires_grad and p.ndim == 2}
            for name, parameter in owned.items():
                if "lora_A" in name:
                    continue
                spread = (owned[name.replace("lora_B", "lora_A")] if "lora_B" in name else parameter).std()
                parameter += scale * spread.cpu() * torch.randn(parameter.shape, generator=generator)


def member_logits(
    models: Sequence[AnswerModel], states: Float[Tensor, "members positions dim"]
) -> Float[Tensor, "members positions vocab"]:
    """Each member's next-token logits, in float32. A head that all share is read once: it costs little more than for
    one of them."""
    if models[0].owns_all:
        return torch.stack([model.logits(own).float() for model, own in zip(models, states, strict=True)])
    return models[0].logits(states.flatten(0, 1)).float().unflatten(0, states.shape[:2])


def load_answer_model(
    backbone: Backbone, unembedding: Float[Tensor, "vocab dim"], config: ModelConfig, state: dict[str, Tensor]
) -> AnswerModel:
    """A trained one from its `owned_state`, in evaluation mode. Raises ModelError."""
    model = AnswerModel(backbone, unembedding, config, generator=torch.Generator())
    load_owned(model, state)
    return model.eval()
