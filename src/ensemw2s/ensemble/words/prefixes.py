"""Members of an ensemble of generation that each read a text of their own before every prompt."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from ensemw2s.ensemble.reading import Reading
from ensemw2s.ensemble.words.members import SharedTrunk


@dataclass
class PrefixReading(Reading):
    """What each member has read, of which each has its own keys and values from the trunk's first layer on."""

    caches: list[DynamicCache] = field(default_factory=list[DynamicCache])
    each: list[Reading] = field(default_factory=list[Reading])

    def keep(self, rows: Int[Tensor, " rows"]) -> None:
        """Keep only these rows."""
        for reading in self.each:
            reading.keep(rows)

    @property
    def can_be_joined(self) -> bool:
        """Whether all of them can."""
        return all(reading.can_be_joined for reading in self.each)

    def join(self, other: Reading) -> None:
        """Add the rows of another reading by the same members."""
        assert isinstance(other, PrefixReading)
        for reading, new in zip(self.each, other.each, strict=True):
            reading.join(new)


class PrefixMembers:
    """Implements `members.Members`: models over one trunk, each behind its own prefix.

    A prefix is read once, and every batch goes on from its keys and values. What the trunk makes of a prompt depends on
    what stands before it, so it runs once for each member.

    Args:
        members: the models.
        prefixes: token ids that each reads first, with the special tokens at the start of a text; may be empty.
        n_start: how many special tokens a prompt begins with, which stand before the prefix in its place.
    """

    def __init__(self, members: SharedTrunk, prefixes: Sequence[Sequence[int]], n_start: int = 0):
        self._members, self.prefixes, self._n_start = members, tuple(map(tuple, prefixes)), n_start
        self._each = [members.alone(t) for t in range(members.n_members)]
        self._read: dict[int, Reading] = {}

    @property
    def n_members(self) -> int:
        return len(self._each)

    @property
    def pad_id(self) -> int:
        return self._members.pad_id

    @property
    def n_bytes(self) -> int:
        """As `SharedTrunk.n_bytes`."""
        return self._members.n_bytes

    def alone(self, member: int) -> "PrefixMembers":
        """One member by itself, behind its prefix."""
        return PrefixMembers(self._each[member], self.prefixes[member : member + 1], self._n_start)

    def start(self) -> Reading:
        return PrefixReading(each=[one.start() for one in self._each])

    @torch.no_grad()
    def read(
        self, ids: Int[Tensor, "batch length"], mask: Int[Tensor, "batch length"], reading: Reading | None
    ) -> Float[Tensor, "members batch states dim"]:
        """As `Members.read`."""
        assert reading is None or isinstance(reading, PrefixReading)
        states = []
        for t, one in enumerate(self._each):
            if reading is None:
                states.append(self._at_once(t, ids, mask))
            elif reading.each[t].is_empty:
                reading.each[t] = self._behind(t, len(ids))
                states.append(one.read(ids, self._without_start(t, mask), reading.each[t]))
            else:
                states.append(one.read(ids, mask, reading.each[t]))
        return torch.cat(states)

    def logits(self, states: Float[Tensor, "members positions dim"]) -> Float[Tensor, "members positions vocab"]:
        """As `Members.logits`."""
        return self._members.logits(states)

    def _at_once(self, t: int, ids: Tensor, mask: Tensor) -> Tensor:
        """States of whole texts, padded on the right."""
        one, prefix = self._each[t], self.prefixes[t]
        if not prefix:
            return one.read(ids, mask, None)
        if one.keeps_memory:
            return one.read(ids, self._without_start(t, mask), self._behind(t, len(ids)))
        n = self._n_start
        before = torch.tensor([prefix] * len(ids))
        joined = torch.cat([before, ids[:, n:]], dim=1)
        states = one.read(joined, torch.cat([torch.ones_like(before), mask[:, n:]], dim=1), None)
        states = states[:, :, len(prefix) :]
        return torch.nn.functional.pad(states, (0, 0, n, 0))  # nobody asks for those of special tokens

    def _behind(self, t: int, n_rows: int) -> Reading:
        """The state of so many rows that have read the prefix."""
        one, prefix = self._each[t], self.prefixes[t]
        reading = one.start()
        if not prefix:
            return reading
        if reading.tokens is not None:
            reading.tokens = [list(prefix) for _ in range(n_rows)]
            return reading
        if t not in self._read:
            one.read(torch.tensor([prefix]), torch.ones(1, len(prefix), dtype=torch.long), reading)
            self._read[t] = reading
        reading = copy.deepcopy(self._read[t])
        reading.repeat(n_rows)
        return reading

    def _without_start(self, t: int, mask: Tensor) -> Tensor:
        """The mask without the special tokens of a prompt behind a prefix, which begins with them."""
        if not self._n_start or not self.prefixes[t]:
            return mask
        return mask * (mask.cumsum(1) > self._n_start)
