"""A causal model's upper layers and vocabulary head, trained to answer: an expert or a student of generation."""

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from transformers import DynamicCache

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.adapters import load_owned
from ensemw2s.models.load import Backbone
from ensemw2s.models.upper import add_lora, own_weights, upper_layers


class AnswerModel(nn.Module):
    """Next-token logits from the trunk's activations: the upper layers are trained, the vocabulary head is not.

    The head (the pretrained output embedding) is shared and is applied only to the positions asked for: in training
    and scoring those before an answer token, in decoding the last one.

    Args:
        backbone: cut to the layers that this side uses.
        config: `adapter: top` owns a float32 copy of `own_layers(config, backbone)` upper layers, `lora` low-rank
            updates on them.
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
        self.upper = upper_layers(backbone, own_layers(config, backbone))
        if config.adapter == "top":
            own_weights(self.upper)
        else:
            add_lora(self.upper, config.lora_rank, config.lora_alpha, dropout, generator)
        self.unembedding = unembedding.detach()  # shared: no parameter, no buffer, no part of any state
        if init_noise:
            self._add_noise(init_noise, generator)

    def hidden(
        self,
        values: Float[Tensor, "batch length dim"],
        mask: Int[Tensor, "batch whole"],
        *,
        positions: Int[Tensor, "batch length"] | None = None,
        cache: DynamicCache | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        """Final-normed states; with a `cache` of earlier tokens, `mask` covers those too."""
        device, dtype = self.upper.device, next(self.upper.parameters()).dtype
        if positions is not None:
            positions = positions.to(device)
        output = self.upper(
            inputs_embeds=values.to(device, dtype),
            attention_mask=mask.to(device),
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return output.last_hidden_state

    def logits(self, hidden: Float[Tensor, "positions dim"]) -> Float[Tensor, "positions vocab"]:
        """Next-token logits at these positions."""
        return nn.functional.linear(hidden.to(self.unembedding.dtype), self.unembedding)

    def _add_noise(self, scale: float, generator: Generator) -> None:
        with torch.no_grad():
            owned = {n: p for n, p in self.named_parameters() if p.requires_grad and p.ndim == 2}
            for name, parameter in owned.items():
                if "lora_A" in name:
                    continue
                spread = (owned[name.replace("lora_B", "lora_A")] if "lora_B" in name else parameter).std()
                parameter += scale * spread.cpu() * torch.randn(parameter.shape, generator=generator)


def own_layers(config: ModelConfig, backbone: Backbone) -> int:
    """How many upper layers an answer model runs itself; the trunk has the rest."""
    if config.adapter == "top":
        return config.top_layers
    return config.lora_layers or backbone.n_layers


def load_answer_model(
    backbone: Backbone, unembedding: Float[Tensor, "vocab dim"], config: ModelConfig, state: dict[str, Tensor]
) -> AnswerModel:
    """A trained one from its `owned_state`, in evaluation mode. Raises ModelError."""
    model = AnswerModel(backbone, unembedding, config, generator=torch.Generator())
    load_owned(model, state)
    return model.eval()
