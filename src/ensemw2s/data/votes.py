"""Votes of outside voters (people, rules, services) on a task's examples, and which of them a run may see."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core.labels.outside import OutsideVotes
from ensemw2s.data.splits import TESTS, Split
from ensemw2s.examples import VoteTable


class VoteColumns:
    """Columns of votes, filled one vote at a time."""

    def __init__(self) -> None:
        self._voters: dict[str, int] = {}
        self._ids: dict[str, int] = {}
        self._voter, self._example, self._line = array("i"), array("i"), array("q")
        self._vote, self._choice, self._probability = array("i"), array("i"), array("f")

    def __len__(self) -> int:
        return len(self._voter)

    @property
    def n_voters(self) -> int:
        return len(self._voters)

    def add(self, name: str, voter: str, shares: Iterable[tuple[int, float]], line: int = 0) -> None:
        """A vote: probabilities by class, which add up to 1."""
        n_votes = len(self._voter)
        self._voter.append(self._voters.setdefault(voter, len(self._voters)))
        self._example.append(self._ids.setdefault(name, len(self._ids)))
        self._line.append(line)
        for choice, share in shares:
            self._vote.append(n_votes)
            self._choice.append(choice)
            self._probability.append(share)

    def table(self) -> VoteTable:
        """The columns, voters in the order of their names."""
        voters = sorted(self._voters)
        place = torch.empty(len(voters), dtype=torch.int32)
        place[[self._voters[name] for name in voters]] = torch.arange(len(voters), dtype=torch.int32)
        voter = array("i", place[torch.frombuffer(self._voter, dtype=torch.int32)].numpy().tobytes())
        return VoteTable(
            tuple(voters), tuple(self._ids), voter, self._example, self._vote, self._choice, self._probability
        )

    def repeated(self) -> tuple[int, int] | None:
        """Lines of the first two votes of one voter on one example; None where there are none."""
        if not self._voter:
            return None
        voter, example = (torch.frombuffer(c, dtype=torch.int32).long() for c in (self._voter, self._example))
        pair, order = (voter * len(self._ids) + example).sort(stable=True)
        again = order[1:][pair[1:] == pair[:-1]]
        if not len(again):
            return None
        second = int(again.min())
        first = int(order[int((order == second).nonzero()) - 1])
        return self._line[first], self._line[second]


@dataclass(frozen=True)
class PlacedVotes:
    """The votes on examples of a split that is no test."""

    voters: tuple[str, ...]
    n_examples: int
    n_classes: int
    voter: Int[Tensor, " votes"]
    row: Int[Tensor, " votes"]
    """Of the split's examples."""
    vote: Int[Tensor, " entries"]
    choice: Int[Tensor, " entries"]
    probability: Float[Tensor, " entries"]
    n_tests: int
    """Votes on test examples, which are left out."""
    n_elsewhere: int
    """Votes on examples that are in no part of the split."""

    def on(self, rows: Int[Tensor, " rows"]) -> OutsideVotes:
        """What every voter says of these rows."""
        place = torch.full((self.n_examples,), -1)
        place[rows] = torch.arange(len(rows))
        at = place[self.row]
        voted = torch.zeros(len(self.voters), len(rows), dtype=torch.bool)
        voted[self.voter[at >= 0], at[at >= 0]] = True
        said = torch.zeros(len(self.voters), len(rows), self.n_classes)
        said[~voted] = 1.0 / self.n_classes
        is_here = at[self.vote] >= 0
        vote = self.vote[is_here]
        said[self.voter[vote], at[vote], self.choice[is_here]] = self.probability[is_here]
        return OutsideVotes(said, voted)

    @property
    def notes(self) -> list[str]:
        """A sentence where votes are left out."""
        left_out = [
            f"{n:,} on {what}"
            for n, what in ((self.n_tests, "test examples"), (self.n_elsewhere, "examples that no part has"))
            if n
        ]
        n_votes = len(self.row) + self.n_tests + self.n_elsewhere
        return [f"of {n_votes:,} outside votes, {' and '.join(left_out)} are left out"] if left_out else []


def placed(table: VoteTable, split: Split) -> PlacedVotes:
    """The votes that a run of this split may see: none on a test, whatever the file has."""
    row_of = {e.id: row for row, e in enumerate(split.examples)}
    row = _column(table.example, torch.tensor([row_of.get(name, -1) for name in table.ids]))
    tests = [row for part in TESTS if part in split.pools for row in split.pools[part]]
    is_test = torch.zeros(len(split.examples) + 1, dtype=torch.bool)  # the last place is that of -1
    is_test[tests] = True
    keep = (row >= 0) & ~is_test[row]
    moved = keep.cumsum(0) - 1  # place of a vote among those that are kept
    vote = _column(table.vote)
    entries = keep[vote]
    return PlacedVotes(
        table.voters,
        len(split.examples),
        len(split.choices),
        _column(table.voter)[keep],
        row[keep],
        moved[vote[entries]],
        _column(table.choice)[entries],
        torch.frombuffer(table.probability, dtype=torch.float32)[entries],
        int(is_test[row].sum()),
        int((row < 0).sum()),
    )


def _column(column: "array[int]", of: Int[Tensor, " _"] | None = None) -> Int[Tensor, " _"]:
    """A column as a tensor, or what it picks of another."""
    index = torch.frombuffer(column, dtype=torch.int32)
    return index.long() if of is None else of[index]
