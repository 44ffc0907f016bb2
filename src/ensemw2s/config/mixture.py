"""What a student that is a mixture of low-rank updates asks of the other settings."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ensemw2s.config.experiment import ExperimentConfig

FORM = (
    *("model", "revision", "n_layers", "adapter", "pooling", "head_hidden"),
    *("lora_layers", "lora_targets", "lora_rank", "lora_alpha"),
)
"""What weak and strong models have in common where a student starts from weak experts."""


def check_mixture(config: "ExperimentConfig") -> None:
    """Raises ValueError where a mixture is no student, or cannot start as the weak experts."""
    for name, model in config.models[:-1]:
        if model.lora_experts > 1:
            raise ValueError(
                f"{name}.lora_experts ({model.lora_experts}): a mixture is a student, and experts have one update; "
                "set it for `strong`"
            )
    if config.strong.lora_experts > 1 and config.student_training.packing:
        raise ValueError(
            "student_training.packing: strong.lora_experts balances each text by itself; set packing: false"
        )
    if config.strong.lora_start != "weak":
        return
    first, *others = config.pool
    if others:
        raise ValueError(
            f"strong.lora_start: weak begins with experts of one weak model, and `weak` is a pool of "
            f"{len(config.pool)}; give one model, or start from zero"
        )
    if config.strong.head_hidden:
        raise ValueError("strong.lora_start: weak merges heads, which head_hidden does not allow; set it to 0")
    if differing := [name for name in FORM if getattr(first, name) != getattr(config.strong, name)]:
        weak, strong = (getattr(model, differing[0]) for model in (first, config.strong))
        raise ValueError(
            f"strong.lora_start: weak begins with the weak experts' updates, and {differing[0]} is {weak!r} in "
            f"`weak` and {strong!r} in `strong`; give both one model with updates of one form, or start from zero"
        )
    if config.strong.lora_experts > config.ensemble.n_rounds:
        raise ValueError(
            f"strong.lora_experts ({config.strong.lora_experts}) exceeds ensemble.n_rounds "
            f"({config.ensemble.n_rounds}), whose experts they start from; lower it, or start from zero"
        )
