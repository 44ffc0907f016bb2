"""Pseudo-answers with everything needed to trust or trace them (EnsemW2S, 2410.04571)."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.config import DecodingConfig
from ensemw2s.core.voting import Vote
from ensemw2s.ensemble.decode import decode
from ensemw2s.ensemble.members import SharedTrunk


def write_answers(
    members: SharedTrunk,
    expert_weights: Float[Tensor, " experts"],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    *,
    vote: Vote,
    row_ids: Sequence[str],
) -> list[dict[str, Any]]:
    """The ensemble's answer to each prompt, ready for JSON.

    answer, confidence (its probability under the mixture), agreement (share of the experts whose own answer it is),
    members (each expert's own answer), tokens and token_log_probs (one more where the end token came), is_finished
    (ended by itself, not by the limit of length).
    """
    found = decode(members, expert_weights, tokenizer, prompts, config, vote=vote, row_ids=row_ids)
    own = [[d.text] * members.n_members for d in found]
    # A member that agreed all along would have written the same: only the others are asked again. Drawn answers are
    # no member's greedy one, so then all are.
    asked_again = members.n_members > 1 or config.temperature > 0
    for t in range(members.n_members):
        other = [i for i, d in enumerate(found) if config.temperature > 0 or not d.agrees[t]] if asked_again else []
        if other:
            greedy = config.model_copy(update={"temperature": 0.0})
            asked = [prompts[i] for i in other]
            texts = decode(members.alone(t), torch.ones(1), tokenizer, asked, greedy, vote=vote)
            for i, d in zip(other, texts, strict=True):
                own[i][t] = d.text
    return [
        {
            "answer": d.text.strip(),
            "confidence": d.confidence,
            "agreement": sum(text.strip() == d.text.strip() for text in texts) / len(texts),
            "members": [text.strip() for text in texts],
            "tokens": [str(tokenizer.decode([token])) for token in d.tokens],
            "token_log_probs": list(d.log_probs),
            "is_finished": d.is_finished,
        }
        for d, texts in zip(found, own, strict=True)
    ]
