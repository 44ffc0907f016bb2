"""Logical cost of experiments that answer in words: the vocabulary head counts at answer tokens only."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ensemw2s.forms.generation.prepare import AnswerSide
from ensemw2s.pipeline.cost import NOTHING, mean, total
from ensemw2s.results import Cost

__all__ = ["NOTHING", "decoding_cost", "mean", "total", "training_cost"]


def training_cost(side: AnswerSide, state: Mapping[str, Tensor], tokens: int, answer_tokens: int) -> Cost:
    """Training that reads `tokens` in all, of which `answer_tokens` go through the vocabulary head.

    A trained weight costs 6 per use (2 forward, 4 backward), a frozen one below trained ones 4; the trunk's
    activations are cached, its one pass over the data is counted once per training.
    """
    owned = sum(t.numel() for t in state.values())
    head = side.unembedding.n_weights * answer_tokens
    if side.config.adapter == "full":  # `owned` counts the embeddings too, which are looked up
        flops = 6.0 * _upper_weights(side) * tokens + 6.0 * head
    else:
        frozen = 0.0 if side.config.adapter == "top" else _upper_weights(side)
        flops = (6.0 * owned + 4.0 * frozen) * tokens + 4.0 * head
    return Cost(training_tokens=tokens, expert_evaluations=0, flops=flops)


def decoding_cost(side: AnswerSide, n_experts: int, record: Mapping[str, Any]) -> Cost:
    """Writing these answers: every expert of the ensemble reads and writes each of them once."""
    written = sum(len(label["token_log_probs"]) for label in record["labels"])
    per_expert = 2.0 * (_upper_weights(side) + side.unembedding.n_weights) * written
    return Cost(
        training_tokens=0,
        expert_evaluations=n_experts * len(record["labels"]),
        flops=side.flops_per_token * written + n_experts * per_expert,
    )


def _upper_weights(side: AnswerSide) -> int:
    """Weights that multiply in the layers above the trunk."""
    whole = [p for p in side.backbone.model.parameters() if p.ndim > 1]
    embeddings = {id(p) for p in side.backbone.model.get_input_embeddings().parameters()}
    return sum(p.numel() for p in whole if id(p) not in embeddings) - int(side.flops_per_token / 2)
