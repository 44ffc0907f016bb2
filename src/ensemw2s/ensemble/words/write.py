"""Pseudo-answers with everything needed to trust or trace them (EnsemW2S, 2410.04571)."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.config import DecodingConfig
from ensemw2s.core.voting import Vote
from ensemw2s.ensemble.words.decode import Decoded, decode
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.prefixes import PrefixMembers


def write_answers(
    members: SharedTrunk | PrefixMembers,
    expert_weights: Float[Tensor, " experts"],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    *,
    vote: Vote,
    row_ids: Sequence[str],
) -> list[dict[str, Any]]:
    """The ensemble's answer to each prompt, as `described`."""
    decoded = decode(members, expert_weights, tokenizer, prompts, config, vote=vote, row_ids=row_ids)
    return described(decoded, members, tokenizer, prompts, config, vote=vote)


def described(
    decoded: Sequence[Decoded],
    members: SharedTrunk | PrefixMembers,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    *,
    vote: Vote,
) -> list[dict[str, Any]]:
    """What these members answered to each prompt, together and each by itself, ready for JSON.

    Fields: answer; confidence (its probability under the mixture); agreement (share of experts that give this answer);
    members (each expert's greedy answer); tokens and token_log_probs (one more with the end token); is_finished (ended
    by itself and not by the limit of length).
    """
    member_texts = [[d.text] * members.n_members for d in decoded]
    # A member that agreed at every token would have written the same answer, so only the others decode by themselves.
    # Sampled answers are no member's greedy answer, so then all of them do.
    may_differ = members.n_members > 1 or config.temperature > 0
    for t in range(members.n_members):
        differing = [i for i, d in enumerate(decoded) if may_differ and (config.temperature > 0 or not d.agrees[t])]
        if differing:
            greedy = config.model_copy(update={"temperature": 0.0})
            alone = decode(
                members.alone(t), torch.ones(1), tokenizer, [prompts[i] for i in differing], greedy, vote=vote
            )
            for i, d in zip(differing, alone, strict=True):
                member_texts[i][t] = d.text
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
        for d, texts in zip(decoded, member_texts, strict=True)
    ]
