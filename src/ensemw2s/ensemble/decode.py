"""Decoding with an ensemble that votes on every token (EnsemW2S, 2410.04571, section 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.config import DecodingConfig
from ensemw2s.core.batches import length_batches
from ensemw2s.core.seeds import stream
from ensemw2s.core.voting import Vote, combine
from ensemw2s.ensemble.members import Members
from ensemw2s.meter import working

Measure = Callable[[Float[Tensor, "batch vocab"]], Float[Tensor, " batch"]]


@dataclass(frozen=True)
class Decoded:
    """One generated answer of an ensemble."""

    tokens: tuple[int, ...]
    """Token ids without the end token."""
    log_probs: tuple[float, ...]
    """Log-probability of each token under the mixture, with the end token's last where it was generated."""
    agrees: tuple[bool, ...]
    """For each member, whether its own greedy answer is this one. This is exact without decoding the member by itself,
    because as long as it agrees it has read the tokens that it would have generated."""
    is_finished: bool
    """Ended by itself or by a stop string, not by the limit of length."""
    text: str
    measured: tuple[float, ...] = ()
    """Values of `measure` at every step, including that of the end token."""

    @property
    def confidence(self) -> float:
        """Probability of the whole answer under the mixture, the product over its tokens."""
        return float(torch.tensor(self.log_probs, dtype=torch.float64).sum().exp())


def decode(
    members: Members,
    expert_weights: Float[Tensor, " members"],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    *,
    vote: Vote = "soft",
    row_ids: Sequence[str] | None = None,
    measure: Measure | None = None,
) -> list[Decoded]:
    """Generate an answer to every prompt, in order; an answer does not depend on the other rows of its batch.

    Args:
        prompts: token ids, none empty. Batches hold prompts of similar length, padded on the left.
        row_ids: names that seed the sampling of each row, together with `config.seed` and the step, where
            `config.temperature` is above 0; None uses row numbers.
        measure: function of the mixture at every step whose values are kept, for example its entropy.
    """
    answers: list[Decoded | None] = [None] * len(prompts)
    budget = config.batch_rows * max(map(len, prompts), default=1)
    with working("writing", "answers", len(prompts)) as advance:
        for batch in length_batches([len(p) for p in prompts], budget):
            for rows in [batch[i : i + config.batch_rows] for i in range(0, len(batch), config.batch_rows)]:
                names: list[str] = [str(r) if row_ids is None else row_ids[r] for r in rows]
                of_rows = [prompts[r] for r in rows]
                decoded = _decode_batch(members, expert_weights, tokenizer, of_rows, names, config, vote, measure)
                for row, answer in zip(rows, decoded, strict=True):
                    answers[row] = answer
                advance(len(rows))
    return [a for a in answers if a is not None]


def _decode_batch(
    members: Members,
    expert_weights: Float[Tensor, " members"],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    names: Sequence[str],
    config: DecodingConfig,
    vote: Vote,
    measure: Measure | None,
) -> list[Decoded]:
    n, end = len(prompts), tokenizer.eos_token_id
    tokens: list[list[int]] = [[] for _ in prompts]
    log_probs: list[list[float]] = [[] for _ in prompts]
    measured: list[list[float]] = [[] for _ in prompts]
    agrees = torch.ones(members.n_members, n, dtype=torch.bool)
    done: dict[int, str] = {}
    alive = torch.arange(n)
    reading = members.start()
    ids, mask = pad_left(prompts, members.pad_id)
    for step in range(config.max_new_tokens):
        states = members.read(ids, mask, reading)[:, :, -1]
        member_log_probs = members.logits(states).log_softmax(-1)
        mixed = combine(member_log_probs, expert_weights, vote=vote, dtype=torch.float32)
        rows: list[int] = alive.tolist()
        chosen = _choose(mixed, [names[r] for r in rows], step, config)
        agrees[:, alive] &= (member_log_probs.argmax(-1) == chosen).cpu()
        gold = mixed.gather(-1, chosen.unsqueeze(-1))[:, 0].tolist()
        if measure is not None:
            for row, value in zip(rows, measure(mixed).tolist(), strict=True):
                measured[row].append(value)
        continuing = []
        for place, (row, token, log_prob) in enumerate(zip(rows, chosen.tolist(), gold, strict=True)):
            log_probs[row].append(log_prob)
            if token == end:
                done[row] = _text(tokenizer, tokens[row])
                continue
            tokens[row].append(token)
            if config.stop:
                text = _text(tokenizer, tokens[row])
                if (cut := _stopped(text, config.stop)) is not None:
                    done[row] = text[:cut]
                    continue
            continuing.append(place)
        if not continuing:
            break
        kept = torch.tensor(continuing)
        if len(continuing) < len(alive):
            alive = alive[kept]
            reading.keep(kept)
        ids, mask = chosen[kept].cpu().unsqueeze(1), torch.ones(len(kept), 1, dtype=torch.long)
    return [
        Decoded(
            tuple(tokens[r]),
            tuple(log_probs[r]),
            tuple(agrees[:, r].tolist()),
            r in done,
            done[r] if r in done else _text(tokenizer, tokens[r]),
            tuple(measured[r]),
        )
        for r in range(n)
    ]


def _choose(
    log_probs: Float[Tensor, "batch vocab"], names: Sequence[str], step: int, config: DecodingConfig
) -> Int[Tensor, " batch"]:
    """The likeliest token, or one sampled from the mixture by a stream of seed, row and step alone."""
    if config.temperature == 0.0:
        return log_probs.argmax(-1)
    heated = (log_probs.double() / config.temperature).softmax(-1)
    probs, order = torch.sort(heated, dim=-1, descending=True, stable=True)
    before = probs.cumsum(-1) - probs
    probs = torch.where(before < config.top_p, probs, 0.0)  # the likeliest token is always kept
    edges = probs.cumsum(-1)
    points = torch.stack(
        [torch.rand((), generator=stream(config.seed, "decode", name, step), dtype=torch.float64) for name in names]
    ).to(edges.device)
    place = torch.searchsorted(edges, (points * edges[:, -1]).unsqueeze(1), right=True)
    last = (probs > 0).sum(-1, keepdim=True) - 1
    return order.gather(-1, torch.minimum(place, last))[:, 0]


def pad_left(
    prompts: Sequence[Sequence[int]], pad_id: int
) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]:
    """Token ids padded on the left, so that every row's last token is in the last column, and their mask."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (longest - len(p)) + list(p) for p in prompts])
    lengths = torch.tensor([len(p) for p in prompts])
    return ids, (torch.arange(longest) >= longest - lengths.unsqueeze(1)).long()


def _text(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True))


def _stopped(text: str, stop: Sequence[str]) -> int | None:
    """Position of the first stop string; None where there is none."""
    places = [place for s in stop if (place := text.find(s)) >= 0]
    return min(places) if places else None
