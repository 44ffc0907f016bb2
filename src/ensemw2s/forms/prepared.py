"""An experiment that is ready to train, and one seed of it, as every stage and both forms see them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.config import ExperimentConfig
from ensemw2s.data.perturb import PerturbedTests
from ensemw2s.data.splits import Draw, Split
from ensemw2s.evaluation.scored import VAL
from ensemw2s.examples import Task
from ensemw2s.forms.role import Role, WeakRole
from ensemw2s.storage.store import Artifact, Store

Truth = Int[Tensor, " _"] | tuple[str, ...]
"""Opened labels: class indices, or texts."""


@dataclass(frozen=True)
class Labels:
    """Examples of the split with their true answers, for a training."""

    rows: Int[Tensor, " rows"]
    truth: Truth


@dataclass(frozen=True)
class Prepared:
    """A validated experiment, ready to train. It holds no true answer beside those of the easy pool and the seal."""

    config: ExperimentConfig
    task: Task
    """Without its examples."""
    split: Split
    pool: tuple[WeakRole, ...]
    """The weak models: mostly one."""
    strong: Role
    people: Mapping[str, str]
    """Id to the answer that a person gave."""
    perturbed: tuple[PerturbedTests, ...] = field(default=(), kw_only=True)
    """The tests' prompts under each perturbation."""
    on: Callable[[Split], "Prepared"] | None = field(default=None, kw_only=True)
    """The same models on a split with other prompts, or more; None where nothing is perturbed."""

    @property
    def roles(self) -> Mapping[str, Role]:
        """The pretrained models, by the names of their settings."""
        names = [name for name, _ in self.config.models]
        each = zip(names, (*self.pool, self.strong), strict=True)
        return {name: role for name, role in each if isinstance(role, Role)}

    @property
    def names(self) -> list[str]:
        """Ids of all examples of the split."""
        return [e.id for e in self.split.examples]

    def names_of(self, rows: Int[Tensor, " rows"]) -> list[str]:
        """Ids of these rows."""
        return [self.split.examples[row].id for row in rows.tolist()]


@dataclass
class SeedContext:
    """One seed as a form sees it: its draw, and the store."""

    seed: int
    draw: Draw
    store: Store
    used: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Kind and key of every unit of work, in the order of use: for the stages' manifests."""

    def memo(self, kind: str, key: str, compute: Callable[[], Artifact]) -> Artifact:
        """A unit of work from the store, or computed and kept there."""
        self.used.append((kind, key))
        return self.store.memo(kind, key, compute)


def rows_of(prepared: Prepared, seed: SeedContext) -> dict[str, Int[Tensor, " rows"]]:
    """Rows of easy-val and of the tests: what every condition is evaluated on."""
    tests = {part: torch.tensor(list(prepared.split.pools[part])) for part in prepared.split.tests}
    return {VAL: seed.draw.easy_val, **tests}
