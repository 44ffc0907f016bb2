"""The step from final states to next-token logits, taken as the library's own causal model takes it."""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

POSITIONS = 64
"""Logits computed at a time where only some tokens of each are kept."""
TRIED = 100.0
"""Largest logit on which a head is tried: far beyond every soft cap."""


class VocabularyHead(nn.Module):
    """The library's causal model without its trunk: weights, biases, transforms, scales and soft caps are its own.

    Args:
        model: its trunk is replaced by what passes states on; give one that nobody else uses.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        product = model.get_output_embeddings()
        self._product = next(name for name, module in model.named_modules() if module is product)
        setattr(model, model.base_model_prefix, _Given(model.base_model))
        self.model = model
        self.is_plain = self._is_plain()
        """Measured: logits are the states times `weight`, so that the product can be had for some tokens alone."""

    @property
    def weight(self) -> Float[Tensor, "vocab dim"]:
        """One row per token."""
        weight = self.model.get_submodule(self._product).weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def n_weights(self) -> int:
        """Of all its weights, those that the embeddings share included."""
        return sum(p.numel() for p in self.model.parameters())

    def forward(self, states: Float[Tensor, "positions dim"]) -> Float[Tensor, "positions vocab"]:
        """Next-token logits."""
        weight = self.weight
        states = states.to(weight.device, weight.dtype)
        return nn.functional.linear(states, weight) if self.is_plain else self._logits(states)

    def of_tokens(
        self, states: Float[Tensor, "positions dim"], tokens: Int[Tensor, " tokens"]
    ) -> Float[Tensor, "positions tokens"]:
        """The logits of these tokens alone, in float32, on the CPU."""
        if self.is_plain:
            return states.cpu().float() @ self.weight[tokens.to(self.weight.device)].cpu().float().T
        return torch.cat([self(part)[:, tokens].float().cpu() for part in states.split(POSITIONS)])

    def own(self, embeddings: Tensor, own_embeddings: Tensor) -> "VocabularyHead":
        """A trainable float32 copy; what was tied to `embeddings` is tied to `own_embeddings`."""
        own = copy.deepcopy(self, {id(embeddings): own_embeddings}).float()
        return own.requires_grad_(True)

    def _logits(self, states: Float[Tensor, "positions dim"]) -> Float[Tensor, "positions vocab"]:
        return self.model(inputs_embeds=states.unsqueeze(0)).logits[0]

    @torch.no_grad()
    def _is_plain(self) -> bool:
        weight = self.weight
        # Rows of the matrix itself have large logits; at 0 a bias stands alone.
        states = torch.stack([weight[0], weight[len(weight) // 2], weight[-1], torch.zeros_like(weight[0])])
        largest = nn.functional.linear(states, weight).abs().max().float()
        states = states * (TRIED / largest).to(states.dtype)
        found, product = self._logits(states), nn.functional.linear(states, weight)
        if found.shape != product.shape:
            return False
        close = 1e-5 if weight.dtype == torch.float32 else 1e-2
        return bool(found[-1].eq(0).all()) and torch.allclose(found.float(), product.float(), rtol=close, atol=close)


def has_vocabulary(config: PretrainedConfig) -> bool:
    """Whether the library has a causal model of this configuration that is not an encoder put to that use."""
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    return type(config) not in MODEL_FOR_MASKED_LM_MAPPING or bool(getattr(config, "is_decoder", False))


def trunk_of(model: PreTrainedModel) -> PreTrainedModel | None:
    """What of a causal model lies below its vocabulary head; None where the two cannot be told apart."""
    base = model.base_model
    return base if isinstance(base, PreTrainedModel) and base is not model else None


class _Given(nn.Module):
    """In place of a trunk: the states are what is given; its numbers are kept, among which are scales of logits."""

    def __init__(self, trunk: nn.Module):
        super().__init__()
        for name, value in vars(trunk).items():
            if isinstance(value, int | float):
                setattr(self, name, value)

    @property
    def decoder(self) -> "_Given":
        """What OPT calls in its trunk."""
        return self

    def forward(self, *_: object, inputs_embeds: Tensor, **__: object) -> "_States":
        return _States([inputs_embeds])


class _States(tuple[Tensor]):
    """What a trunk gives back, of which only the states are there."""

    @property
    def last_hidden_state(self) -> Tensor:
        return self[0]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
