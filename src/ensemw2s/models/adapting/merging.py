"""One model of several that were trained from one start: their changes of each trained tensor, merged.

A low-rank update is merged as the matrix that it adds to the weights, s B A. Its factors must not be merged each by
itself: the product of two means has cross terms B_i A_j, and T equal updates would not merge to themselves. The merged
matrix is cut to rank T r again, which the mean of T updates of rank r has; what another merge loses by that is counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from peft.tuners.lora import LoraLayer
from torch import Generator, Tensor, nn

from ensemw2s.config import ModelConfig
from ensemw2s.core.merging import Merge, low_rank
from ensemw2s.core.seeds import stream
from ensemw2s.errors import ModelError
from ensemw2s.models.adapting.adapters import owned_state
from ensemw2s.models.adapting.mixture import MixtureLinear, copy_exactly

State = Mapping[str, Tensor]
"""Trained tensors by name, as `owned_state` gives them."""
_DOWN, _UP = ".lora_A.", ".lora_B."


@dataclass(frozen=True)
class MergedChange:
    """What a merge adds to the common start."""

    tensors: dict[str, Tensor]
    """By name of the trained tensor; of low-rank updates the factors, without a scaling, and the head's scale as it
    is."""
    kept: float
    """Share of the low-rank updates' squared norm that their cut kept; 1 where there are none."""

    def state(self, start: State, scale: float) -> dict[str, Tensor]:
        """The merged model: the start, and `scale` times the change."""
        return {name: self._moved(name, tensor, start.get(name), scale) for name, tensor in self.tensors.items()}

    def _moved(self, name: str, change: Tensor, start: Tensor | None, scale: float) -> Tensor:
        if _is_scale(name) or _DOWN in name:
            return change
        moved = scale * change.double()
        return (moved if start is None else start.double() + moved).float()


def start_of(module: nn.Module) -> dict[str, Tensor]:
    """The pretrained values of what a module trains; a head and low-rank updates have none, and start at 0."""
    state = owned_state(module)
    return {name: tensor for name, tensor in state.items() if not _is_head(name) and not _is_low_rank(name)}


def merged_model(config: ModelConfig, n: int) -> ModelConfig:
    """The settings of n merged experts: those of one, where low-rank updates have n times the rank and no scaling."""
    if config.adapter != "lora":
        return config
    rank = n * config.lora_rank
    return config.model_copy(update={"lora_rank": rank, "lora_alpha": float(rank)})


def merged_change(
    states: Sequence[State],
    start: State,
    weights: Float[Tensor, " experts"],
    merge: Merge,
    config: ModelConfig,
    *,
    seed: int,
) -> MergedChange:
    """The change of the merged model.

    Args:
        states: of the experts.
        start: `start_of` the untrained model.
        weights: of the experts in their vote; only their proportions count, and all 0 is all alike.
        config: of the experts.
        seed: of what the merge draws.

    Raises:
        ModelError: the experts are not of one start.
    """
    _check_alike(states)
    shares = weights.double() if bool(weights.any()) else torch.ones(len(weights), dtype=torch.float64)
    shares = shares / shares.sum()
    states = _in_one_scale(states)
    tensors: dict[str, Tensor] = {}
    whole = left = 0.0
    for name, first in states[0].items():
        if _is_scale(name):
            tensors[name] = first
            continue
        if _UP in name:  # made with its other factor
            continue
        draws = stream(seed, "merge", name)
        if _DOWN in name:
            up, rank = name.replace(_DOWN, _UP), len(states) * config.lora_rank
            matrix = _merged_update(states, name, up, shares, merge, draws, config.lora_alpha / config.lora_rank)
            a, b = low_rank(matrix, rank)
            tensors |= {name: a.float(), up: b.float()}
            whole, left = whole + float(matrix.square().sum()), left + float((b @ a).square().sum())
            continue
        changes = torch.stack([state[name].double() for state in states])
        if name in start:
            changes = changes - start[name].double()
        tensors[name] = merge(changes, shares, draws).float()
    return MergedChange(tensors, left / whole if whole else 1.0)


@torch.no_grad()
def start_as_merge(module: nn.Module, experts: Sequence[State]) -> None:
    """Begin a mixture as the linear merge of experts with low-rank updates, weighted alike.

    Update k of each mixture becomes the k-th expert's, with routers at 0; a single update their mean, which has their
    summed rank; and so a head. With fewer experts than updates, the others add nothing.

    Raises:
        ModelError: the experts have other layers or another rank, or are not of one start.
    """
    _check_alike(experts)
    n: set[int] = set()
    for name, layer in module.named_modules():
        if isinstance(layer, MixtureLinear):
            n.add(layer.n_experts)
            layer.lora_router.zero_()
            for own, part in ((layer.lora_A, _DOWN), (layer.lora_B, _UP)):
                for k, expert in enumerate(experts):
                    copy_exactly(own[k], _factor(expert, name, part), name)
    (n_experts,) = n
    for name, layer in module.named_modules():
        if isinstance(layer, LoraLayer):
            down, up = (torch.cat([_factor(e, name, p) for e in experts], dim) for dim, p in enumerate((_DOWN, _UP)))
            (own_down,), (own_up,) = layer.lora_A.values(), layer.lora_B.values()
            copy_exactly(own_down.get_parameter("weight")[: len(down)], down, name)
            copy_exactly(own_up.get_parameter("weight")[:, : len(down)], up / n_experts, name)
    owned = dict(module.named_parameters()) | dict(module.named_buffers())
    heads = _in_one_scale([{name: t for name, t in expert.items() if _is_head(name)} for expert in experts])
    for name in heads[0]:
        copy_exactly(owned[name], torch.stack([head[name].double() for head in heads]).mean(0).float(), name)


def _factor(expert: State, layer: str, part: str) -> Tensor:
    name = f"{layer}{part}default.weight"
    if name not in expert:
        raise ModelError(f"lora_start: the weak experts have no low-rank update {name}; give both models the same cut")
    return expert[name]


def _merged_update(
    states: Sequence[State],
    down: str,
    up: str,
    shares: Float[Tensor, " experts"],
    merge: Merge,
    draws: Generator,
    scaling: float,
) -> Float[Tensor, "out in"]:
    updates = torch.stack([scaling * state[up].double() @ state[down].double() for state in states])
    return merge(updates, shares, draws)


def _in_one_scale(states: Sequence[State]) -> list[dict[str, Tensor]]:
    """The same heads on features divided by one scale. A dimension that a head does not read has weight 0 then."""
    name = next(filter(_is_scale, states[0]), None)
    if name is None:
        return [dict(state) for state in states]
    common = torch.stack([state[name] for state in states]).amin(0)
    weight = name.removesuffix("scale") + "score.weight"
    found = list[dict[str, Tensor]]()
    for state in states:
        factor = torch.where(state[name].isfinite(), common / state[name], 0.0)
        found.append(dict(state) | {name: common, weight: state[weight] * factor})
    return found


def _check_alike(states: Sequence[State]) -> None:
    first = states[0]
    for state in states[1:]:
        names = sorted(state.keys() ^ first.keys())
        names += [name for name in state.keys() & first.keys() if state[name].shape != first[name].shape]
        if names:
            raise ModelError(
                f"experts of different starts cannot be merged: {names[0]} is not the same kind of tensor in all; give "
                "experts of one model and one adapter"
            )
    if hidden := [name for name in first if name.removeprefix("head.").startswith("hidden.")]:
        raise ModelError(
            f"experts of different starts cannot be merged: {hidden[0]} began at random weights of its own in each; "
            "use linear heads (head_hidden: 0)"
        )


def _is_scale(name: str) -> bool:
    return name in ("scale", "head.scale")


def _is_head(name: str) -> bool:
    return name.startswith(("score.", "hidden.", "head.")) or _is_scale(name)


def _is_low_rank(name: str) -> bool:
    return _DOWN in name or _UP in name
