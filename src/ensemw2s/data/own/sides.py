"""Which side of the split an example is on, by difficulty or by its file, and what must stay together."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import SplitConfig
from ensemw2s.data.alike import alike
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task
from ensemw2s.pictures import by_content

BY_DIFFICULTY = {"easy": ("id_test", "easy_pool"), "hard": ("ood_test", "hard_pool")}
BY_FILE = {"easy": ("id_test", "easy_pool"), "hard": ("hard_pool",), "test": ("ood_test",)}
AT_RANDOM = {"only": ("id_test", "ood_test", "easy_pool", "hard_pool")}
"""Side to the parts that it is dealt to, in this order."""


def sides_by_file(task: Task) -> tuple[list[Example], list[str]]:
    """The examples of all files, ordered by id, with their sides: `easy` (labelled), `hard` (unlabelled) or `test`.

    What several files have (a group, a like text) stays in one of them and leaves the others: in the test, which has
    to be whole and unseen, else in the labelled file, which knows its answer.
    """
    files = {"test": task.test, "easy": task.examples, "hard": task.unlabelled}
    everything = [(example, side) for side, examples in files.items() for example in examples]
    group_of = groups_of([example for example, _ in everything])
    owner: dict[int, str] = {}
    kept = [
        pair for pair, group in zip(everything, group_of, strict=True) if owner.setdefault(group, pair[1]) == pair[1]
    ]
    kept.sort(key=lambda pair: pair[0].id)
    return [example for example, _ in kept], [side for _, side in kept]


def sides_by_difficulty(
    task: str, examples: Sequence[Example], config: SplitConfig
) -> tuple[Float[Tensor, " examples"], list[str], dict[str, tuple[str, str]]]:
    """Difficulty and side of each example; and, should a side be too small, where its cut is and how to move it."""
    if any(e.difficulty is None for e in examples):
        first = next(e.id for e in examples if e.difficulty is None)
        raise DataError(
            f"{task}, example {first!r}: it has no difficulty; name its column with task.difficulty, or let the "
            "weak model rate it with difficulty.source: entropy"
        )
    difficulty = torch.tensor([e.difficulty for e in examples], dtype=torch.float64)
    easy_cut, hard_cut = (float(torch.quantile(difficulty, q)) for q in (config.easy_below, config.hard_above))
    side_of = ["easy" if d <= easy_cut else "hard" if d >= hard_cut else "between" for d in difficulty.tolist()]
    # On a dial of few values the easy cut can fall on the largest: then nothing is harder.
    move = {
        "easy": (f" (its cut is at difficulty {easy_cut:g})", "raise split.easy_below"),
        "hard": (f" (its cut is at difficulty {hard_cut:g})", "lower split.hard_above or split.easy_below"),
    }
    return difficulty, side_of, move


def groups_of(examples: Sequence[Example]) -> list[int]:
    """A number per example, equal for one `group_id`, for like text (`data.alike`) and for equal pictures."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    for e in examples:
        text = "text:" + alike(by_content(e.prompt))
        parent[root(text)] = root("group:" + e.group_id)
    numbers: dict[str, int] = {}
    return [numbers.setdefault(root("group:" + e.group_id), len(numbers)) for e in examples]
