"""A mixture of low-rank updates on the linear layers of a model's MLPs, with a router for each.

y = W x + sum_k g_k(x) s B_k A_k x with g = softmax(TopK(W_g x)), as MixLoRA's experts (2404.15159), which are as small
as LoRA's updates: so all of them are computed, as one update of K times the rank whose middle is scaled by the gates,
and those that are not active are multiplied by 0. It costs what LoRA of that rank costs.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.anatomy import layers_of

MIXTURE = "mixture.safetensors"
"""File of mixtures in a student's folder."""
MLP = "mlp"
"""Name of the part of a layer whose linear layers get a mixture; families that call it otherwise have none."""


class MixtureLinear(nn.Module):
    """A frozen linear layer with K low-rank updates, of which the router mixes the best for each position.

    Args:
        base: the frozen layer.
        n_active: number of updates that are mixed. Of equal scores all are active, so that a router at 0 gives the mean
            of all.
        balance: weight of the load balance in the training loss.
    """

    def __init__(
        self,
        base: nn.Linear | Conv1D,
        n_experts: int,
        n_active: int,
        rank: int,
        *,
        scaling: float,
        dropout: float = 0.0,
        balance: float = 0.0,
    ):
        super().__init__()
        self.base = base
        self.n_active, self.scaling, self.balance = n_active, scaling, balance
        out, into = base.weight.shape if isinstance(base, nn.Linear) else base.weight.shape[::-1]
        device = base.weight.device
        self.lora_A = nn.ParameterList([torch.zeros(rank, into, device=device) for _ in range(n_experts)])
        self.lora_B = nn.ParameterList([torch.zeros(out, rank, device=device) for _ in range(n_experts)])
        self.lora_router = nn.Parameter(torch.zeros(n_experts, into, device=device))
        self.dropout = nn.Dropout(dropout)
        self.routed: Tensor | None = None
        """The router's scores of the last pass in training, which `balance_loss` takes."""

    @property
    def n_experts(self) -> int:
        return len(self.lora_A)

    def forward(self, x: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
        base, x = self.base(x), x.to(self.lora_router.dtype)
        scores = nn.functional.linear(x, self.lora_router)
        self.routed = scores if self.training else None
        low = nn.functional.linear(self.dropout(x), torch.cat(list(self.lora_A)))
        mixed = low.unflatten(-1, (self.n_experts, -1)) * gates(scores, self.n_active).unsqueeze(-1)
        update = nn.functional.linear(mixed.flatten(-2), torch.cat(list(self.lora_B), dim=1))
        return base + (self.scaling * update).to(base.dtype)


def gates(scores: Float[Tensor, "*rows experts"], n_active: int) -> Float[Tensor, "*rows experts"]:
    """Weights of the updates, 0 for all but the best `n_active` and what is equal to the last of them."""
    least = scores.topk(n_active).values[..., -1:]
    return scores.masked_fill(scores < least, -torch.inf).softmax(-1)


def mixtures_of(model: nn.Module) -> dict[str, MixtureLinear]:
    """The mixtures within a model, by their place."""
    return {name: module for name, module in model.named_modules() if isinstance(module, MixtureLinear)}


def mixed_targets(model: PreTrainedModel, config: ModelConfig, targets: Sequence[str]) -> list[str]:
    """Those of the targeted linear layers that get mixtures: the ones that lie in MLPs. Raises ModelError for none."""
    within = {id(m) for layer in layers_of(model) for m in getattr(layer, MLP, nn.Identity()).modules()}
    chosen = [name for name in targets if id(model.get_submodule(name)) in within]
    if not chosen:
        raise ModelError(
            f"{config.model}: lora_experts mixes updates of the linear layers of MLPs, and of the layers that are "
            f"updated in a {type(model).__name__} none lies in a part named {MLP}; set lora_experts: 1, name such "
            "layers in lora_targets, or use another family such as Llama, Qwen or GPT-2"
        )
    return chosen


def add_mixtures(model: PreTrainedModel, config: ModelConfig, places: Sequence[str], dropout: float) -> None:
    """Put mixtures, whose parameters are 0, on the linear layers at these places."""
    for name in places:
        base: Any = model.get_submodule(name)
        mixture = MixtureLinear(
            base,
            config.lora_experts,
            config.lora_active,
            config.lora_rank,
            scaling=config.lora_alpha / config.lora_rank,
            dropout=dropout,
            balance=config.lora_balance,
        )
        model.set_submodule(name, mixture)


def balance_loss(module: nn.Module, lengths: Int[Tensor, " batch"]) -> Float[Tensor, ""] | float:
    """The weighted load balance of the last pass in training, summed over its sequences; 0 without mixtures.

    Of a sequence K sum_k f_k P_k, as the mean over the mixtures: f_k is the share of its tokens' choices that fell on
    update k, P_k the router's mean probability. It is 1 at the uniform split and K where one update takes all. Each
    sequence is balanced by itself, so that micro-batches add up to the same gradient.

    Args:
        lengths: of the right-padded sequences; further rows of the pass do not count.
    """
    mixtures = list(mixtures_of(module).values())
    if not mixtures:
        return 0.0
    return torch.stack([_unbalanced(each, lengths) for each in mixtures]).mean()


def _unbalanced(mixture: MixtureLinear, lengths: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
    assert mixture.routed is not None, "balance follows a pass in training"
    scores, mixture.routed = mixture.routed[: len(lengths)], None
    lengths = lengths.to(scores.device)
    is_token = (torch.arange(scores.shape[1], device=scores.device) < lengths[:, None]).unsqueeze(-1)
    is_active = gates(scores.detach(), mixture.n_active) > 0
    share = is_active / is_active.sum(-1, keepdim=True)
    taken, wanted = ((part * is_token).sum(1) / lengths[:, None] for part in (share, scores.softmax(-1)))
    return mixture.balance * mixture.n_experts * (taken * wanted).sum()


def single_rank(config: ModelConfig) -> ModelConfig:
    """The settings of the single updates beside mixtures: what starts as several experts has their summed rank."""
    n = config.lora_experts if config.lora_start == "weak" else 1
    return config.model_copy(update={"lora_rank": n * config.lora_rank, "lora_alpha": n * config.lora_alpha})


def taken_out(model: nn.Module) -> dict[str, MixtureLinear]:
    """The mixtures of a model, by their place, at which their frozen layers remain."""
    found = mixtures_of(model)
    for name, mixture in found.items():
        model.set_submodule(name, mixture.base)
    return found


def mixture_tensors(mixtures: Mapping[str, MixtureLinear]) -> Iterator[tuple[str, Tensor]]:
    """What mixtures are made of, by place: the scaling is in `up`."""
    for place, mixture in mixtures.items():
        yield f"{place}/down", torch.stack(list(mixture.lora_A)).detach().float().cpu()
        yield f"{place}/up", mixture.scaling * torch.stack(list(mixture.lora_B)).detach().float().cpu()
        yield f"{place}/router", mixture.lora_router.detach().float().cpu()


@torch.no_grad()
def put_back(model: nn.Module, tensors: Mapping[str, Tensor], n_active: int) -> None:
    """Put mixtures of `mixture_tensors` on a model. Raises ModelError where they do not fit it."""
    places = dict.fromkeys(name.rpartition("/")[0] for name in tensors)
    for place in places:
        try:
            base: Any = model.get_submodule(place)
            down, up, router = (tensors[f"{place}/{part}"] for part in ("down", "up", "router"))
            mixture = MixtureLinear(base, len(down), n_active, down.shape[1], scaling=1.0)
            copy_exactly(mixture.lora_router, router, place)
            for k in range(len(down)):
                copy_exactly(mixture.lora_A[k], down[k], place)
                copy_exactly(mixture.lora_B[k], up[k], place)
        except (AttributeError, KeyError, IndexError) as error:
            raise ModelError(f"its mixture of low-rank updates does not fit {place!r} of the model: {error}") from None
        model.set_submodule(place, mixture.requires_grad_(False).eval())


def refuse_mixtures(name: str, folder: Path) -> None:
    """Raises ModelError where the folder is of a student whose weights are not all of it."""
    if (folder / MIXTURE).exists():
        raise ModelError(
            f"{name}: a student with mixtures of low-rank updates ({MIXTURE}), which answers by `predict` and `serve` "
            "but is no model to train on; name the model that it was trained on"
        )


def copy_exactly(own: Tensor, given: Tensor, name: str) -> None:
    """Copy the tensor of that name. Raises ModelError where it has another shape."""
    if own.shape != given.shape:
        raise ModelError(f"low-rank updates of {name} have shape {list(given.shape)}, not {list(own.shape)}")
    own.copy_(given)
