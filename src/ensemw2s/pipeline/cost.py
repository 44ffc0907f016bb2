"""Logical cost: tokens, evaluations and FLOPs that follow from the configuration and the data, not from the clock."""

from collections.abc import Callable, Iterable

from ensemw2s.forms.classification.side import Side
from ensemw2s.models.upper import own_layers
from ensemw2s.results import Cost

NOTHING = Cost(training_tokens=0, expert_evaluations=0, flops=0)

# FLOPs of training on a number of tokens and examples, given the trained parameters. A weight that is trained costs
# 6 per use (2 forward, 4 backward); a frozen one among trained ones costs 4 (no gradient of its own). The trunk
# below a head or upper layers is not run in training at all: its activations are cached.
_TRAINING_FLOPS: dict[str, Callable[[Side, int, int, int], float]] = {
    "head": lambda side, owned, tokens, examples: 6.0 * owned * examples,
    "top": lambda side, owned, tokens, examples: 6.0 * owned * tokens,
    "full": lambda side, owned, tokens, examples: 3.0 * side.flops_per_token * tokens,  # the embeddings are looked up
    "lora": lambda side, owned, tokens, examples: (
        (2.0 * _own_share(side) * side.flops_per_token + 6.0 * owned) * tokens
    ),
}


def trunk_cost(side: Side, n_tokens: int) -> Cost:
    """One pass of the frozen trunk over these tokens: of the layers that the adapter does not run itself."""
    flops = (1.0 - _own_share(side)) * side.flops_per_token * n_tokens
    return Cost(training_tokens=0, expert_evaluations=0, flops=flops)


def training_cost(side: Side, *, owned: int, tokens: int, examples: int) -> Cost:
    """Training that reads `examples` (with repetition) of `tokens` in all, with `owned` trained parameters."""
    return Cost(
        training_tokens=tokens,
        expert_evaluations=0,
        flops=_TRAINING_FLOPS[side.config.adapter](side, owned, tokens, examples),
    )


def evaluation_cost(side: Side, *, owned: int, tokens: int, examples: int) -> Cost:
    """One expert's evaluation of `examples`: a third of what training on them costs."""
    flops = _TRAINING_FLOPS[side.config.adapter](side, owned, tokens, examples) / 3.0
    return Cost(training_tokens=0, expert_evaluations=examples, flops=flops)


def _own_share(side: Side) -> float:
    return own_layers(side.config, side.backbone) / side.backbone.n_layers


def total(costs: Iterable[Cost]) -> Cost:
    """The sum."""
    costs = list(costs)
    return Cost(
        training_tokens=sum(c.training_tokens for c in costs),
        expert_evaluations=sum(c.expert_evaluations for c in costs),
        flops=sum(c.flops for c in costs),
    )


def minus(whole: Cost, part: Cost) -> Cost:
    """What is left of a cost."""
    return Cost(**{name: value - getattr(part, name) for name, value in whole.model_dump().items()})


def mean(costs: Iterable[Cost]) -> Cost:
    """The mean over seeds."""
    costs = list(costs)
    whole = total(costs)
    return Cost(**{name: value / len(costs) for name, value in whole.model_dump().items()})
