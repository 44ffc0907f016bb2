"""Decoding with an ensemble that votes on every token (EnsemW2S, 2410.04571, section 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.config import DecodingConfig
from ensemw2s.core.batches import length_batches
from ensemw2s.core.seeds import stream
from ensemw2s.core.voting import Vote, combine
from ensemw2s.ensemble.reading import Reading
from ensemw2s.ensemble.words.members import Members
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
    likeliest_tokens: Int[Tensor, "steps n"] = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    """The likeliest tokens at every step, where some are kept."""
    likeliest_log_probs: Float[Tensor, "steps n"] = field(default_factory=lambda: torch.empty(0, 0))

    @property
    def confidence(self) -> float:
        """Probability of the whole answer under the mixture, the product over its tokens."""
        return float(torch.tensor(self.log_probs, dtype=torch.float64).sum().exp())


def _by_step(values: list[list[Any]], dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=dtype) if values else torch.empty(0, 0, dtype=dtype)


@dataclass(eq=False)
class Row:
    """An answer under way."""

    prompt: Sequence[int]
    """Token ids, at least one."""
    name: str
    """Seeds the draws, together with `config.seed` and the step, where `config.temperature` is above 0."""
    config: DecodingConfig
    n_likeliest: int = 0
    """Number of the likeliest tokens to keep at every step."""
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    likeliest: list[list[tuple[int, float]]] = field(default_factory=list)
    """At every step, the likeliest tokens with their log-probabilities."""
    agrees: list[bool] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    ending: tuple[str, bool] | None = None
    """Once the answer has ended: its text, and whether it ended by itself or by a stop string."""

    def decoded(self) -> Decoded:
        """The answer, which must have ended."""
        assert self.ending is not None
        text, is_finished = self.ending
        return Decoded(
            tuple(self.tokens),
            tuple(self.log_probs),
            tuple(self.agrees),
            is_finished,
            text,
            tuple(self.measured),
            _by_step([[token for token, _ in step] for step in self.likeliest], torch.long),
            _by_step([[log_prob for _, log_prob in step] for step in self.likeliest], torch.float32),
        )


class Decoding:
    """Answers that are written together, a token of each at every step.

    Rows join and leave between steps. What a row gets depends on no other row.

    Args:
        measure: function of the mixture at every step whose values are kept, for example its entropy.
    """

    def __init__(
        self,
        members: Members,
        expert_weights: Float[Tensor, " members"],
        tokenizer: PreTrainedTokenizerBase,
        *,
        vote: Vote = "soft",
        measure: Measure | None = None,
    ):
        self.rows: list[Row] = []
        """The answers that have not ended."""
        self._members, self._weights, self._tokenizer = members, expert_weights, tokenizer
        self._vote: Vote = vote
        self._measure = measure
        self._reading: Reading | None = None

    @property
    def can_be_joined(self) -> bool:
        """Whether rows can be added to those that are under way."""
        return self._reading is None or self._reading.can_be_joined

    def join(self, rows: Sequence[Row]) -> None:
        """Read the prompts of these rows, padded on the left, and write their first tokens."""
        reading = self._members.start()
        ids, mask = pad_left([row.prompt for row in rows], self._members.pad_id)
        kept = self._advance(rows, self._members.read(ids, mask, reading)[:, :, -1])
        if not kept:
            return
        if len(kept) < len(rows):
            reading.keep(torch.tensor(kept))
        if self._reading is None:
            self._reading = reading
        else:
            self._reading.join(reading)
        self.rows += [rows[place] for place in kept]

    def step(self) -> None:
        """Write the next token of every row."""
        assert self._reading is not None
        ids = torch.tensor([[row.tokens[-1]] for row in self.rows])
        states = self._members.read(ids, torch.ones_like(ids), self._reading)[:, :, -1]
        self._keep(self._advance(self.rows, states))

    def drop(self, row: Row) -> None:
        """Take a row out before it has ended."""
        if row in self.rows:
            self._keep([place for place, other in enumerate(self.rows) if other is not row])

    def _keep(self, places: list[int]) -> None:
        if not places:
            self._reading = None
        elif len(places) < len(self.rows) and self._reading is not None:
            self._reading.keep(torch.tensor(places))
        self.rows = [self.rows[place] for place in places]

    @torch.no_grad()
    def _advance(self, rows: Sequence[Row], states: Float[Tensor, "members batch dim"]) -> list[int]:
        """Give each row its next token. Returns the places of the rows that go on."""
        member_log_probs = self._members.logits(states).log_softmax(-1)
        mixed = combine(member_log_probs, self._weights, vote=self._vote, dtype=torch.float32)
        chosen = _choose(mixed, rows)
        agrees: list[list[bool]] = (member_log_probs.argmax(-1) == chosen).T.tolist()
        gold: list[float] = mixed.gather(-1, chosen.unsqueeze(-1))[:, 0].tolist()
        if self._measure is not None:
            for row, value in zip(rows, self._measure(mixed).tolist(), strict=True):
                row.measured.append(value)
        if n := max(row.n_likeliest for row in rows):
            best = mixed.topk(min(n, mixed.shape[-1]))
            for row, values, tokens in zip(rows, best.values.tolist(), best.indices.tolist(), strict=True):
                row.likeliest.append(list(zip(tokens, values, strict=True))[: row.n_likeliest])
        going_on = []
        for place, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
            row.log_probs.append(gold[place])
            row.agrees = [a and b for a, b in zip(row.agrees or agrees[place], agrees[place], strict=True)]
            row.ending = self._ending(row, token)
            if row.ending is None:
                going_on.append(place)
        return going_on

    def _ending(self, row: Row, token: int) -> tuple[str, bool] | None:
        """Add a token to a row. Returns how the answer ends with it; None where it goes on."""
        if token == self._tokenizer.eos_token_id:
            return _text(self._tokenizer, row.tokens), True
        row.tokens.append(token)
        if row.config.stop:
            text = _text(self._tokenizer, row.tokens)
            if (cut := _stopped(text, row.config.stop)) is not None:
                return text[:cut], True
        if len(row.tokens) == row.config.max_new_tokens:
            return _text(self._tokenizer, row.tokens), False
        return None


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
    n_likeliest: int = 0,
) -> list[Decoded]:
    """Generate an answer to every prompt, in order; an answer does not depend on the other rows of its batch.

    Args:
        prompts: token ids, none empty. Batches hold prompts of similar length.
        row_ids: names of the rows (`Row.name`); None uses row numbers.
        measure: as in `Decoding`.
        n_likeliest: as in `Row`.
    """
    names = list(map(str, range(len(prompts)))) if row_ids is None else row_ids
    found: dict[int, Decoded] = {}
    budget = config.batch_rows * max(map(len, prompts), default=1)
    with working("writing", "answers", len(prompts)) as advance:
        for batch in length_batches([len(p) for p in prompts], budget):
            for places in [batch[i : i + config.batch_rows] for i in range(0, len(batch), config.batch_rows)]:
                decoding = Decoding(members, expert_weights, tokenizer, vote=vote, measure=measure)
                rows = [Row(prompts[place], names[place], config, n_likeliest) for place in places]
                decoding.join(rows)
                while decoding.rows:
                    decoding.step()
                found |= {place: row.decoded() for place, row in zip(places, rows, strict=True)}
                advance(len(places))
    return [found[place] for place in range(len(prompts))]


def _choose(log_probs: Float[Tensor, "batch vocab"], rows: Sequence[Row]) -> Int[Tensor, " batch"]:
    """The likeliest token, or one sampled from the mixture by a stream of the row's seed, name and step alone."""
    chosen = log_probs.argmax(-1)
    places = [place for place, row in enumerate(rows) if row.config.temperature > 0]
    if not places:
        return chosen
    drawn = [rows[place] for place in places]
    settings = torch.tensor([[r.config.temperature, r.config.top_p] for r in drawn], dtype=torch.float64)
    temperature, top_p = settings.to(log_probs.device).split(1, dim=1)
    heated = (log_probs[places].double() / temperature).softmax(-1)
    probs, order = torch.sort(heated, dim=-1, descending=True, stable=True)
    before = probs.cumsum(-1) - probs
    probs = torch.where(before < top_p, probs, 0.0)  # the likeliest token is always kept
    edges = probs.cumsum(-1)
    streams = [stream(row.config.seed, "decode", row.name, len(row.log_probs)) for row in drawn]
    points = torch.stack([torch.rand((), generator=s, dtype=torch.float64) for s in streams]).to(edges.device)
    place = torch.searchsorted(edges, (points * edges[:, -1]).unsqueeze(1), right=True)
    last = (probs > 0).sum(-1, keepdim=True) - 1
    chosen[places] = order.gather(-1, torch.minimum(place, last))[:, 0]
    return chosen


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
