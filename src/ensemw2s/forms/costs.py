"""Logical cost: tokens, evaluations and FLOPs that follow from the settings and the data, not from the clock.

A weight that is trained costs 6 FLOPs per use (2 forward, 4 backward), a frozen one among trained ones 4 (no gradient
of its own), and one that is only evaluated 2. The frozen trunk below the adapter is read once and cached.
"""

from ensemw2s.forms.role import WeakRole
from ensemw2s.results import Cost

Amount = int | float


def trunk_cost(role: WeakRole, tokens: Amount) -> Cost:
    """One pass of the frozen trunk over these tokens: of the layers that the adapter does not run itself."""
    return _cost(role.trunk_flops * tokens)


def training_cost(role: WeakRole, *, owned: int, tokens: Amount, examples: Amount, answer_tokens: Amount = 0) -> Cost:
    """A training, without the trunk's pass.

    Args:
        owned: trained parameters.
        tokens: read in all, with repetition.
        examples: seen in all, with repetition.
        answer_tokens: of these, how many go through the vocabulary head (generation).
    """
    adapter = role.config.adapter
    if adapter == "head":
        flops = 6.0 * owned * examples
    elif adapter == "top":
        flops = 6.0 * owned * tokens
    elif adapter == "full":
        flops = 3.0 * role.own_flops * tokens  # `owned` may have the embeddings, which are looked up
    else:
        flops = (2.0 * role.own_flops + 6.0 * owned) * tokens
    flops += (6.0 if role.trains_head else 4.0) * role.head_weights * answer_tokens
    return Cost(training_tokens=tokens, expert_evaluations=0, flops=flops)


def evaluation_cost(role: WeakRole, *, owned: int, tokens: Amount, examples: Amount, answer_tokens: Amount = 0) -> Cost:
    """One expert's forward passes over `examples`, without the trunk's pass; arguments as in `training_cost`."""
    adapter = role.config.adapter
    if adapter == "head":
        flops = 2.0 * owned * examples
    elif adapter == "top":
        flops = 2.0 * owned * tokens
    elif adapter == "full":
        flops = role.own_flops * tokens
    else:
        flops = (role.own_flops + 2.0 * owned) * tokens
    return _cost(flops + 2.0 * role.head_weights * answer_tokens, examples)


def validation_cost(
    role: WeakRole, *, owned: int, passes: int, tokens: Amount, examples: Amount, answer_tokens: Amount = 0
) -> Cost:
    """Passes over validation data in training, by which `patience` ends it, without the trunk's pass; FLOPs alone.

    Args:
        tokens: of the validation data, as `examples` and `answer_tokens`.
    """
    once = evaluation_cost(role, owned=owned, tokens=tokens, examples=examples, answer_tokens=answer_tokens)
    return _cost(passes * once.flops)


def _cost(flops: float, evaluations: Amount = 0) -> Cost:
    return Cost(training_tokens=0, expert_evaluations=evaluations, flops=flops)
