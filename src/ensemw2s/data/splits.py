"""The five parts of a run, disjoint by group and by text, and the seal on all labels but the easy ones.

easy side   easy_pool  -> per seed: easy_train, easy_val      id_test
hard side   hard_pool  -> per seed: hard_unlabelled           ood_test

The sides are cut by difficulty; or they are files: the labelled one is the easy side, the unlabelled one the hard pool,
and OOD test is a labelled file of its own, if there is one. Or there is one side, dealt at random to all parts.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import SplitConfig
from ensemw2s.core.seeds import stream
from ensemw2s.data.own.sides import AT_RANDOM, BY_DIFFICULTY, BY_FILE, groups_of, sides_by_difficulty, sides_by_file
from ensemw2s.data.seal import SealedLabels, fingerprint
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task
from ensemw2s.pictures import by_content

TESTS = ("id_test", "ood_test")
POOLS = ("easy_pool", "hard_pool", *TESTS)
TOLERANCE = 0.1
"""Share of its size by which a part may fall short because groups are not torn."""


@dataclass(frozen=True)
class Draw:
    """One seed's parts, as rows of `Split.examples`."""

    easy_train: Int[Tensor, " train"]
    easy_val: Int[Tensor, " val"]
    hard_unlabelled: Int[Tensor, " hard"]


@dataclass(frozen=True)
class Split:
    """All examples of a run, in the order of POOLS; without a test file there is no ood_test."""

    choices: tuple[str, ...]
    """The classes; none where answers are generated."""
    examples: tuple[Example, ...]
    """`answer` is None outside the easy pool."""
    pools: dict[str, range]
    easy_answers: tuple[str, ...]
    """True answers of the easy pool."""
    sealed: dict[str, SealedLabels]
    """True answers of the other pools; of an unlabelled file only where it brings them."""
    difficulty: Float[Tensor, " examples"]
    groups: Int[Tensor, " examples"]
    config: SplitConfig

    @cached_property
    def easy_labels(self) -> Int[Tensor, " easy"]:
        """Classes of the easy pool."""
        index = {choice: k for k, choice in enumerate(self.choices)}
        return torch.tensor([index[answer] for answer in self.easy_answers])

    @property
    def easy_counts(self) -> dict[str, int]:
        """How many labelled easy examples each class has."""
        counts = self.easy_labels.bincount(minlength=len(self.choices)).tolist()
        return dict(zip(self.choices, counts, strict=True))

    @property
    def tests(self) -> tuple[str, ...]:
        """The test parts that there are, the easy one first."""
        return tuple(part for part in TESTS if part in self.pools)

    @property
    def inputs_fingerprint(self) -> str:
        """Of ids, groups and prompts in their order; no label has a part in it. A picture counts by its content."""
        return fingerprint(
            [(e.id, by_content(e.prompt), int(g)) for e, g in zip(self.examples, self.groups, strict=True)]
        )

    @property
    def easy_fingerprint(self) -> str:
        """Of the easy pool's labels, and of the classes they are among: a class may have no example there."""
        return fingerprint([self.choices, self.easy_answers])

    def draw(self, seed: int) -> Draw:
        """A seed's own training, validation and unlabelled rows, whole groups at a time.

        Raises:
            DataError: the groups are too large for a part to hold even one.
        """
        config = self.config
        easy = self._shuffled("easy_pool", stream(seed, "draw", "easy"))
        train, rest = _take(easy, config.n_easy_train)
        val, _ = _take(rest, config.n_easy_val)
        hard, _ = _take(self._shuffled("hard_pool", stream(seed, "draw", "hard")), config.n_hard_unlabelled)
        parts = {"easy_train": train, "easy_val": val, "hard_unlabelled": hard}
        for name, rows in parts.items():
            if not rows:
                raise DataError(
                    f"seed {seed}: no whole group of examples is left for {name}, which may hold "
                    f"{getattr(config, f'n_{name}')}; raise split.n_{name} or its pool, or give finer groups"
                )
        return Draw(**{name: torch.tensor(sorted(rows)) for name, rows in parts.items()})

    def _shuffled(self, pool: str, generator: torch.Generator) -> list[list[int]]:
        members: dict[int, list[int]] = defaultdict(list)
        for row in self.pools[pool]:
            members[int(self.groups[row])].append(row)
        groups = list(members.values())
        return [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]


def make_split(task: Task, config: SplitConfig) -> Split:
    """Deal whole groups of each side to its parts, deterministic by `config.seed`.

    By difficulty, examples at or below the `easy_below` quantile are easy; those above it and at or above the
    `hard_above` quantile are hard. Examples of like text count as one group; a group that is not wholly on one
    side is left out. Where the hard side is a file (`Task.unlabelled`), see `sides_by_file`. A random split needs no
    difficulty and has one side.

    Raises:
        DataError: there is no difficulty, too few examples or too large groups for a part, or a single class in a pool.
    """
    if task.unlabelled:
        examples, side_of = sides_by_file(task)
        difficulty = torch.tensor([float(side != "easy") for side in side_of], dtype=torch.float64)
        sides = BY_FILE
        move = dict.fromkeys(sides, (" (without what another file has, too)", "give more"))
    elif config.kind == "random":
        examples = sorted(task.examples, key=lambda e: e.id)
        difficulty = torch.tensor([e.difficulty or 0.0 for e in examples], dtype=torch.float64)
        side_of, sides = ["only"] * len(examples), AT_RANDOM
        move = {"only": ("", "give more")}
    else:
        examples = sorted(task.examples, key=lambda e: e.id)  # the result must not depend on the file's order
        difficulty, side_of, move = sides_by_difficulty(task.name, examples, config)
        sides = BY_DIFFICULTY
    group_of = groups_of(examples)
    sides_of: dict[int, set[str]] = defaultdict(set)
    members: dict[int, list[int]] = defaultdict(list)
    for i, g in enumerate(group_of):
        sides_of[g].add(side_of[i])
        members[g].append(i)
    parts: dict[str, list[int]] = {}
    for side, names in sides.items():
        groups = [members[g] for g in sorted(members) if sides_of[g] == {side}]
        if side == "test" and not task.test:
            continue
        order = torch.randperm(len(groups), generator=stream(config.seed, "split", side)).tolist()
        left = [groups[i] for i in order]
        available = sum(map(len, left))
        for name in names:
            wanted = getattr(config, f"n_{name}")
            parts[name], left = _take(left, wanted)
            short = wanted - len(parts[name])
            if short and not left:
                counts = " or ".join(f"split.n_{n}" for n in names)
                needed = sum(getattr(config, f"n_{n}") for n in names)
                raise DataError(
                    f"{task.name}: the {side} side has {available} examples{move[side][0]}, too few for "
                    f"{' and '.join(names)} ({needed} together); lower {counts}, or {move[side][1]}"
                )
            if short > TOLERANCE * wanted:
                smallest = min(map(len, left))
                raise DataError(
                    f"{task.name}: {name} gets {wanted - short} examples of {wanted}, because no group that is left "
                    f"fits whole (the smallest has {smallest}); set split.n_{name} to a size that groups fill, or give "
                    "finer groups"
                )
    return _assemble(task, examples, parts, difficulty, group_of, config)


def _assemble(
    task: Task,
    examples: Sequence[Example],
    parts: dict[str, list[int]],
    difficulty: Float[Tensor, " all"],
    group_of: Sequence[int],
    config: SplitConfig,
) -> Split:
    rows: list[int] = []
    pools: dict[str, range] = {}
    answers: dict[str, list[str]] = {}
    is_generated = task.answer_form == "free"
    for name in (pool for pool in POOLS if pool in parts):
        members = sorted(parts[name])
        pools[name] = range(len(rows), len(rows) + len(members))
        rows += members
        if name == "hard_pool" and any(examples[i].answer is None for i in members):
            continue  # an unlabelled file
        answers[name] = [str(examples[i].answer) for i in members]
        if name not in TESTS and len(set(answers[name])) < 2:
            raise DataError(
                f"{task.name}: all examples of {name} have the same answer; take more of them (split.n_{name}) or move "
                "the cut of difficulty (split.easy_below, split.hard_above)"
            )
    order = torch.tensor(rows)
    index = {choice: k for k, choice in enumerate(task.choices)}
    return Split(
        choices=() if is_generated else task.choices,
        examples=tuple(
            examples[i] if n < len(pools["easy_pool"]) else replace(examples[i], answer=None)
            for n, i in enumerate(rows)
        ),
        pools=pools,
        easy_answers=tuple(answers["easy_pool"]),
        sealed={
            name: SealedLabels(name, tuple(texts) if is_generated else torch.tensor([index[text] for text in texts]))
            for name, texts in answers.items()
            if name != "easy_pool"
        },
        difficulty=difficulty[order],
        groups=torch.tensor(group_of)[order],
        config=config,
    )


def _take(groups: list[list[int]], n: int) -> tuple[list[int], list[list[int]]]:
    """Whole groups up to n rows, and the groups that are left; a group that would go over is left for others."""
    taken: list[int] = []
    left: list[list[int]] = []
    for group in groups:
        if len(taken) + len(group) <= n:
            taken += group
        else:
            left.append(group)
    return taken, left
