"""Answers that are drawn, several to a question: each is one more voter (2203.11171, 2407.13647).

Sample k of a question depends on its name and k alone: it is the same however many are drawn, in any batch and order.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.config import DecodingConfig, RestartConfig
from ensemw2s.core.seeds import stream
from ensemw2s.core.voting import Vote
from ensemw2s.ensemble.words.decode import Decoded, decode
from ensemw2s.ensemble.words.members import Members


def draw_answers(
    members: Members,
    expert_weights: Float[Tensor, " members"],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    places: Sequence[Sequence[int]],
    *,
    row_ids: Sequence[str],
    begun: Sequence[Sequence[Sequence[int]]] | None = None,
    vote: Vote = "soft",
) -> list[Decoded]:
    """Answers of the members' mixture at `config.temperature`.

    Args:
        places: of each answer, which prompt it answers and its number k among that prompt's samples.
        row_ids: names of the prompts.
        begun: of each prompt and sample, the tokens of an answer from which it goes on; None begins them all anew.
    """
    names = [_name(row_ids[row], k) for row, k in places]
    asked = [[*prompts[row], *(begun[row][k] if begun else ())] for row, k in places]
    return decode(members, expert_weights, tokenizer, asked, config, vote=vote, row_ids=names)


def beginnings(
    texts: Sequence[str], row_ids: Sequence[str], n: int, restart: RestartConfig, *, seed: int
) -> list[list[str]]:
    """What each of n samples goes on from: an answer without its last t lines, and the marker (Satori, 2502.02508).

    t is drawn from 0 to `restart.max_back`, alike. Where no line is left the sample begins anew, without the marker.
    """

    def begin(text: str, name: str) -> str:
        t = int(torch.randint(restart.max_back + 1, (), generator=stream(seed, "back", name)))
        lines = text.strip().split("\n")
        kept = "\n".join(lines[: len(lines) - t]).rstrip() if t < len(lines) else ""
        return kept + restart.marker if kept else ""

    return [[begin(text, _name(name, k)) for k in range(n)] for text, name in zip(texts, row_ids, strict=True)]


def whose_turn(
    expert_weights: Float[Tensor, " experts"], row_ids: Sequence[str], n: int, seed: int
) -> Int[Tensor, "rows samples"]:
    """Which expert of a pool writes each sample: drawn by their weights, all alike where every weight is 0.

    So a sample is drawn from sum_s alpha_s p_s(y|x) / sum_s alpha_s, the mixture of experts that share no tokens.
    """
    weights = expert_weights.double() if bool(expert_weights.any()) else torch.ones_like(expert_weights).double()
    edges = weights.cumsum(0) / weights.sum()
    streams = [stream(seed, "turn", _name(name, k)) for name in row_ids for k in range(n)]
    points = torch.stack([torch.rand((), generator=each, dtype=torch.float64) for each in streams])
    turns = torch.searchsorted(edges, points, right=True).clamp_max(len(weights) - 1)
    return turns.unflatten(0, (len(row_ids), n))


def _name(row_id: str, k: int) -> str:
    return f"{row_id}#{k}"
