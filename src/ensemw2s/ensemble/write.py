"""Pseudo-answers with everything needed to trust or trace them (EnsemW2S, 2410.04571; algorithms, section 3)."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.config import DecodingConfig
from ensemw2s.core.voting import Vote
from ensemw2s.ensemble.decode import best_choice, decode, score
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


def choose_answers(
    members: SharedTrunk,
    expert_weights: Float[Tensor, " experts"],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    options: Sequence[Sequence[str]],
    *,
    vote: Vote,
) -> list[dict[str, Any]]:
    """The option of each question that the ensemble finds likeliest, by mean log-likelihood per token.

    As `write_answers`; confidence is the option's share of exp(mean log-likelihood) over the options.
    """
    texts = [f" {option}" for each in options for option in each]
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    owner = [row for row, each in enumerate(options) for _ in each]
    sequences = [[*prompts[row], *ids, tokenizer.eos_token_id] for row, ids in zip(owner, encoded, strict=True)]
    found = score(members, expert_weights, sequences, [len(prompts[row]) for row in owner], vote=vote)
    labels, start = [], 0
    for each in options:
        mine = found[start : start + len(each)]
        start += len(each)
        best = best_choice([s.gold for s in mine])
        own = [each[best_choice([s.member_gold[t] for s in mine])] for t in range(members.n_members)]
        share = torch.stack([s.gold.mean() for s in mine]).softmax(0)
        labels.append(
            {
                "answer": each[best],
                "confidence": float(share[best]),
                "agreement": sum(choice == each[best] for choice in own) / len(own),
                "members": own,
                "tokens": [each[best]],
                "token_log_probs": [float(share[best].log())],
                "is_finished": True,
            }
        )
    return labels
