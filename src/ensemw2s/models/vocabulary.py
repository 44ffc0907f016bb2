"""The vocabulary head: from final states to next-token logits, exactly as the library's causal model does it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

from ensemw2s.models.loading.anatomy import trainable_copy

POSITIONS = 64
"""Number of positions whose logits are computed at a time where only some tokens' logits are kept."""
TRIED = 100.0
"""Size of the logits on which a head is tested, far beyond every soft cap."""


class VocabularyHead(nn.Module):
    """The library's causal model without its trunk, with its weights, biases, transforms, scales and soft caps.

    Args:
        model: its trunk is replaced in place, so the caller must not use the model otherwise.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        product = model.get_output_embeddings()
        self._product = next(name for name, module in model.named_modules() if module is product)
        setattr(model, model.base_model_prefix, _PassThrough(model.base_model))
        self.model = model
        self.is_plain = self._is_plain()
        """Whether logits are exactly the states times `weight`, as measured."""

    @property
    def weight(self) -> Float[Tensor, "vocab dim"]:
        """One row per token."""
        weight = self.model.get_submodule(self._product).weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def n_weights(self) -> int:
        """Number of weights, including those shared with the embeddings."""
        return sum(p.numel() for p in self.model.parameters())

    def forward(self, states: Float[Tensor, "positions dim"]) -> Float[Tensor, "positions vocab"]:
        """Next-token logits."""
        weight = self.weight
        states = states.to(weight.device, weight.dtype)
        return nn.functional.linear(states, weight) if self.is_plain else self._logits(states)

    def of_tokens(
        self, states: Float[Tensor, "positions dim"], tokens: Int[Tensor, " tokens"]
    ) -> Float[Tensor, "positions tokens"]:
        """Logits of these tokens alone, in float32 on the CPU."""
        if self.is_plain:
            return states.cpu().float() @ self.weight[tokens.to(self.weight.device)].cpu().float().T
        return torch.cat([self(part)[:, tokens].float().cpu() for part in states.split(POSITIONS)])

    def own(self, embeddings: Tensor, own_embeddings: Tensor) -> "VocabularyHead":
        """A trainable float32 copy; weights tied to `embeddings` are `own_embeddings` in it, trained or frozen as those
        are."""
        return trainable_copy(self, {id(embeddings): own_embeddings})

    def _logits(self, states: Float[Tensor, "positions dim"]) -> Float[Tensor, "positions vocab"]:
        return self.model(inputs_embeds=states.unsqueeze(0)).logits[0]

    @torch.no_grad()
    def _is_plain(self) -> bool:
        weight = self.weight
        # Rows of the matrix itself give large logits; a state of 0 shows a bias.
        states = torch.stack([weight[0], weight[len(weight) // 2], weight[-1], torch.zeros_like(weight[0])])
        largest = nn.functional.linear(states, weight).abs().max().float()
        states = states * (TRIED / largest).to(states.dtype)
        logits, product = self._logits(states), nn.functional.linear(states, weight)
        if logits.shape != product.shape:
            return False
        close = 1e-5 if weight.dtype == torch.float32 else 1e-2
        return bool(logits[-1].eq(0).all()) and torch.allclose(logits.float(), product.float(), rtol=close, atol=close)


def has_vocabulary(config: PretrainedConfig) -> bool:
    """Whether the library has a causal model of this configuration that is not an encoder used as a decoder."""
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    return type(config) not in MODEL_FOR_MASKED_LM_MAPPING or bool(getattr(config, "is_decoder", False))


def trunk_of(model: PreTrainedModel) -> PreTrainedModel | None:
    """The part of a causal model below its vocabulary head; None where the two cannot be separated."""
    base = model.base_model
    return base if isinstance(base, PreTrainedModel) and base is not model else None


class _PassThrough(nn.Module):
    """Replaces the trunk and passes states on. It keeps the trunk's numbers, which may be scales of logits."""

    def __init__(self, trunk: nn.Module):
        super().__init__()
        for name, value in vars(trunk).items():
            if isinstance(value, int | float):
                setattr(self, name, value)

    @property
    def decoder(self) -> "_PassThrough":
        """OPT calls `decoder` of its trunk."""
        return self

    def forward(self, *_: object, inputs_embeds: Tensor, **__: object) -> "_States":
        return _States([inputs_embeds])


class _States(tuple[Tensor]):
    """A trunk's output that holds the states alone."""

    @property
    def last_hidden_state(self) -> Tensor:
        return self[0]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
