"""Copies of the easy training examples that are worded otherwise: what may be learned beside them.

After the hard augmentation of RUIE-Bench (2503.03201). No loss is known here, by which copies are chosen.
"""

from collections import Counter
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.config import AugmentConfig, TaskSettings
from ensemw2s.data.alike import alike
from ensemw2s.data.perturb import reworded
from ensemw2s.data.splits import Draw, Split
from ensemw2s.examples import Example


@dataclass(frozen=True)
class Copies:
    """Copies of some easy examples, perturbation by perturbation."""

    examples: tuple[Example, ...]
    rows: Int[Tensor, " copies"]
    """Of the split: whose copy each is."""
    kinds: Int[Tensor, " copies"]
    """Places of their perturbations among the names."""

    def laid_behind(self, split: Split) -> Split:
        """The split with the copies behind all of its examples, in no pool."""
        return replace(
            split,
            examples=(*split.examples, *self.examples),
            difficulty=torch.cat([split.difficulty, split.difficulty[self.rows]]),
            groups=torch.cat([split.groups, split.groups[self.rows]]),
        )


def easy_copies(task: TaskSettings, split: Split, draw: Draw, config: AugmentConfig) -> Copies:
    """Every perturbation of a seed's easy training examples.

    There is none where the perturbation changes nothing, nor where the prompt would be like another example's, a test's
    among them, or like another example's copy: its answer may be another.

    Raises:
        DataError: as `TaskSettings.wordings`, or where the template refuses.
    """
    rows = draw.easy_train.tolist()
    originals = [split.examples[row] for row in rows]
    wordings = task.wordings(originals, config.perturb_columns, "students.augment")
    taken = frozenset(alike(example.prompt) for example in split.examples)
    examples: list[Example] = []
    places: list[tuple[int, int]] = []
    for kind, name in enumerate(config.perturb):
        prompts = reworded(name, config.strength, originals, wordings, taken).prompts
        count = Counter(map(alike, prompts))
        for row, original, prompt in zip(rows, originals, prompts, strict=True):
            if prompt != original.prompt and count[alike(prompt)] == 1:
                examples.append(replace(original, id=f"{original.id}~{name}", prompt=prompt))
                places.append((row, kind))
        taken |= {alike(prompt) for prompt in prompts}
    of, kinds = torch.tensor(places, dtype=torch.long).reshape(-1, 2).T
    return Copies(tuple(examples), of, kinds)
