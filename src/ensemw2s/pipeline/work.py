"""What the stages of one seed share: the draw, the store, and what has come out so far."""

from collections.abc import Callable

import torch
from torch import Tensor

from ensemw2s.data.people import people_among
from ensemw2s.errors import DataError
from ensemw2s.pipeline.prepare import Prepared
from ensemw2s.pipeline.rows import SeedOutcome
from ensemw2s.records import WeakLabels
from ensemw2s.storage.store import Artifact, Store


class Work:
    """One seed's share of a run.

    Args:
        prepared: the validated experiment.
        store: where every unit of work is found or kept.
    """

    def __init__(self, prepared: Prepared, store: Store, seed: int):
        self.prepared, self.store, self.seed = prepared, store, seed
        self.used: list[tuple[str, str]] = []
        """Kind and key of every artifact, in the order of use: for the stages' manifests."""
        self.weak_labels: dict[str, WeakLabels] = {}
        split = prepared.split
        self.draw = split.draw(seed)
        ensemble = prepared.config.ensemble
        n_groups = len(split.groups[self.draw.easy_train].unique())
        if ensemble.error_source == "folds" and n_groups < ensemble.n_folds:
            raise DataError(
                f"seed {seed}: ensemble.n_folds ({ensemble.n_folds}) exceeds the {n_groups} groups of the training "
                "examples; lower it, or raise split.n_easy_train"
            )
        self.labels = split.easy_labels  # over the easy pool, which comes first in the split
        self.outcome = SeedOutcome(seed, self.draw, self.labels[self.draw.easy_val])
        self.checker: tuple[Tensor, Tensor] | None = None
        """What the strong model that learned the easy labels says of the hard examples and of easy-val; calibrated."""
        ids = [split.examples[i].id for i in self.draw.hard_unlabelled.tolist()]
        index = {choice: k for k, choice in enumerate(prepared.task.choices)}
        self.people = torch.full((len(ids),), -1)
        """Of each hard example the class that a person gave, -1 where nobody did."""
        for i, answer in people_among(prepared.people, ids).items():
            self.people[i] = index[answer]
        tests = {part: torch.tensor(list(split.pools[part])) for part in split.tests}
        self.eval_rows = {"easy_val": self.draw.easy_val, **tests}

    def memo(self, kind: str, key: str, compute: Callable[[], Artifact]) -> Artifact:
        """A unit of work from the store, or computed and kept there."""
        self.used.append((kind, key))
        return self.store.memo(kind, key, compute)
