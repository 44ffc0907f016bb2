"""The five parts of a run, disjoint by group and by text, and the seal on all labels but the easy ones.

easy side   easy_pool  -> per seed: easy_train, easy_val      id_test
hard side   hard_pool  -> per seed: hard_unlabelled           ood_test
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import SplitConfig
from ensemw2s.core.seeds import stream
from ensemw2s.errors import DataError, SealError
from ensemw2s.types import Example, Task, class_index

PURPOSES = ("ceiling", "evaluation")
TOLERANCE = 0.1
"""Share of its size by which a part may fall short because groups are not torn."""


class SealedLabels:
    """True classes that only the ceiling and the evaluation may read.

    A guard against mistakes, not against malice: whoever wants the labels must say what for, and one word in the
    code shows it. Neither printing nor copying them shows a label.
    """

    __slots__ = ("__labels", "fingerprint", "part")

    def __init__(self, part: str, labels: Int[Tensor, " examples"]):
        self.part = part
        self.__labels = labels
        self.fingerprint = hashlib.sha256(labels.numpy().tobytes()).hexdigest()
        """Changes with the labels; for cache keys."""

    def __len__(self) -> int:
        return len(self.__labels)

    def __repr__(self) -> str:
        return f"SealedLabels({self.part}, {len(self)} labels)"

    def __reduce__(self) -> str:
        raise SealError(f"the sealed labels of {self.part} are not to be copied or sent; open them where they are used")

    def open(self, purpose: str) -> Int[Tensor, " examples"]:
        """The labels. Raises SealError for any purpose but `ceiling` and `evaluation`."""
        if purpose not in PURPOSES:
            raise SealError(
                f"the true labels of {self.part} are sealed: {purpose!r} asked for them, and only "
                f"{' and '.join(PURPOSES)} may; choose settings on easy validation data"
            )
        return self.__labels.clone()


@dataclass(frozen=True)
class Draw:
    """One seed's parts, as rows of `Split.examples`."""

    easy_train: Int[Tensor, " train"]
    easy_val: Int[Tensor, " val"]
    hard_unlabelled: Int[Tensor, " hard"]


@dataclass(frozen=True)
class Split:
    """All examples of a run, in the order easy_pool, hard_pool, id_test, ood_test."""

    choices: tuple[str, ...]
    examples: tuple[Example, ...]
    """`answer` is None outside the easy pool."""
    pools: dict[str, range]
    easy_labels: Int[Tensor, " easy"]
    """Classes of the easy pool."""
    sealed: dict[str, SealedLabels]
    """Classes of hard_pool, id_test and ood_test."""
    difficulty: Float[Tensor, " examples"]
    groups: Int[Tensor, " examples"]
    config: SplitConfig

    @property
    def inputs_fingerprint(self) -> str:
        """Of ids, groups and prompts in their order; no label has a part in it."""
        return _hash([(e.id, e.prompt, int(g)) for e, g in zip(self.examples, self.groups, strict=True)])

    @property
    def easy_fingerprint(self) -> str:
        """Of the easy pool's labels, and of how many classes they are among: a class may have no example there."""
        return _hash([len(self.choices), self.easy_labels.tolist()])

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
    """Cut by difficulty, then deal whole groups to pools and tests, deterministic by `config.seed`.

    Examples at or below the `easy_below` quantile of difficulty are easy; those above it and at or above the
    `hard_above` quantile are hard. Examples of like text count as one group; a group that is not wholly on one
    side is left out.

    Raises:
        DataError: there is no difficulty, too few examples or too large groups for a part, or a single class in a pool.
    """
    examples = sorted(task.examples, key=lambda e: e.id)  # the result must not depend on the file's order
    if any(e.difficulty is None for e in examples):
        first = next(e.id for e in examples if e.difficulty is None)
        raise DataError(
            f"{task.name}, example {first!r}: it has no difficulty; name its column with task.difficulty, or let the "
            "weak model rate it with difficulty.source: entropy"
        )
    difficulty = torch.tensor([e.difficulty for e in examples], dtype=torch.float64)
    easy_cut, hard_cut = (torch.quantile(difficulty, q) for q in (config.easy_below, config.hard_above))
    group_of = _groups(examples)
    sides: dict[int, set[str]] = defaultdict(set)
    for i, g in enumerate(group_of):
        sides[g].add("easy" if difficulty[i] <= easy_cut else "hard" if difficulty[i] >= hard_cut else "between")
    members: dict[int, list[int]] = defaultdict(list)
    for i, g in enumerate(group_of):
        members[g].append(i)
    parts: dict[str, list[int]] = {}
    sizes = {"easy": ("id_test", "easy_pool"), "hard": ("ood_test", "hard_pool")}
    for side, names in sizes.items():
        groups = [members[g] for g in sorted(members) if sides[g] == {side}]
        order = torch.randperm(len(groups), generator=stream(config.seed, "split", side)).tolist()
        left = [groups[i] for i in order]
        available = sum(map(len, left))
        for name in names:
            wanted = getattr(config, f"n_{name}")
            parts[name], left = _take(left, wanted)
            short = wanted - len(parts[name])
            if short and not left:
                needed = sum(getattr(config, f"n_{n}") for n in names)
                cut = float(easy_cut if side == "easy" else hard_cut)
                raise DataError(_too_few(task.name, side, available, cut, names, needed))
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
    labels = class_index(examples, task.choices)
    rows: list[int] = []
    pools: dict[str, range] = {}
    for name in ("easy_pool", "hard_pool", "id_test", "ood_test"):
        pools[name] = range(len(rows), len(rows) + len(parts[name]))
        rows += sorted(parts[name])
    for name in ("easy_pool", "hard_pool"):
        if len(labels[sorted(parts[name])].unique()) < 2:
            raise DataError(
                f"{task.name}: all examples of {name} have the same answer; take more of them (split.n_{name}) or move "
                "the cut of difficulty (split.easy_below, split.hard_above)"
            )
    index = torch.tensor(rows)
    sealed = {n: SealedLabels(n, labels[index[list(pools[n])]]) for n in ("hard_pool", "id_test", "ood_test")}
    return Split(
        choices=task.choices,
        examples=tuple(
            examples[i] if n < len(pools["easy_pool"]) else replace(examples[i], answer=None)
            for n, i in enumerate(rows)
        ),
        pools=pools,
        easy_labels=labels[index[list(pools["easy_pool"])]],
        sealed=sealed,
        difficulty=difficulty[index],
        groups=torch.tensor(group_of)[index],
        config=config,
    )


def _groups(examples: Sequence[Example]) -> list[int]:
    """A number per example, equal for one `group_id` and for like text (case and spaces aside)."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    for e in examples:
        text = "text:" + " ".join(e.prompt.casefold().split())
        parent[root(text)] = root("group:" + e.group_id)
    numbers: dict[str, int] = {}
    return [numbers.setdefault(root("group:" + e.group_id), len(numbers)) for e in examples]


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


def _too_few(task: str, side: str, available: int, cut: float, names: Sequence[str], needed: int) -> str:
    counts = " or ".join(f"split.n_{name}" for name in names)
    # On a dial of few values the easy cut can fall on the largest: then nothing is harder.
    move = "raise split.easy_below" if side == "easy" else "lower split.hard_above or split.easy_below"
    return (
        f"{task}: the {side} side has {available} examples (its cut is at difficulty {cut:g}), too few for "
        f"{' and '.join(names)} ({needed} together); lower {counts}, or {move}"
    )


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()
