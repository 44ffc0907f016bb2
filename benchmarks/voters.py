"""Outside voters at scale: seconds of each step, and the process's peak of resident memory.

    python benchmarks/voters.py [--texts 100000] [--voters 20] [--classes 4] [--save benchmarks/results/voters.jsonl]

A file with a vote of every voter on every text is read, placed and joined to the labels of five models; then each label
model makes labels of all of them. Students that label models ask are stood in for by the labels they would learn.
Voters are right on 55% to 95%; half of them have no vote on a labelled text, so that they are judged by agreement.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.nn.functional import one_hot

from ensemw2s.config import SplitConfig
from ensemw2s.core.labels import Votes
from ensemw2s.core.labels.outside import learn_trust, with_outside
from ensemw2s.data.own.votes import read_votes
from ensemw2s.data.splits import Split
from ensemw2s.data.votes import placed
from ensemw2s.examples import Example, Task
from ensemw2s.tables import LABEL_MODELS

N_MODELS, N_EASY = 5, 600


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--texts", type=int, default=100_000)
    options.add_argument("--voters", type=int, default=20)
    options.add_argument("--classes", type=int, default=4)
    options.add_argument("--save", type=Path)
    given = options.parse_args()
    torch.set_num_threads(1)
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        seconds[name] = round(time.perf_counter() - begun, 2)

    generator = torch.Generator().manual_seed(0)
    n, k = given.texts + N_EASY, given.classes
    choices = tuple(f"class {i}" for i in range(k))
    truth = torch.randint(k, (n,), generator=generator)
    rights = torch.linspace(0.55, 0.95, given.voters)
    examples = tuple(Example(f"t{i}", f"t{i}", "text", choices) for i in range(n))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "votes.jsonl"
        begun = time.perf_counter()
        with file.open("w") as out:
            for voter, right in enumerate(rights.tolist()):
                said = drawn(truth, right, k, generator).tolist()
                ids = range(N_EASY if voter % 2 else 0, n)
                rest = f'"voter": "voter {voter:04}", "label": "class '
                out.writelines(f'{{"id": "t{i}", {rest}{said[i]}"}}\n' for i in ids)
        started += time.perf_counter() - begun  # writing the file is no part of it
        with timed("read the file"):
            table = read_votes(str(file), Task("texts", examples, choices, "made", "none"))
    split = Split(
        choices,
        examples,
        {"easy_pool": range(N_EASY), "hard_pool": range(N_EASY, n)},
        tuple(choices[c] for c in truth[:N_EASY].tolist()),
        {},
        torch.zeros(n),
        torch.arange(n),
        SplitConfig(),
    )
    hard = torch.arange(N_EASY, n)
    with timed("place the votes"):
        votes = placed(table, split)
        on_hard, on_easy = votes.on(hard), votes.on(torch.arange(N_EASY))
    scores = 0.7 * torch.randn(N_MODELS, given.texts, k, generator=generator) + one_hot(truth[hard], k)
    member = scores.softmax(-1)
    models = Votes(member, torch.ones(N_MODELS), member.mean(0))
    with timed("learn the voters' trust"):
        trust = learn_trust(on_hard, models.soft, on_easy, split.easy_labels)
    with timed("join the votes"):
        both = with_outside(models, on_hard, trust)
    accuracy = {"models alone": right_share(models.soft, truth[hard])}
    for name in LABEL_MODELS:
        with timed(name):
            labelled = LABEL_MODELS[name]()(both, lambda labelled: labelled.soft)
        accuracy[name] = right_share(labelled.soft[labelled.keep], truth[hard][labelled.keep])
    found = {
        "texts": given.texts,
        "voters": given.voters,
        "classes": k,
        "votes": len(table.voter),
        "seconds": seconds,
        "seconds in all": round(time.perf_counter() - started, 1),
        "peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "largest error of a reliability": round(float((trust.reliability(k) - rights).abs().max()), 4),
        "right labels, %": accuracy,
    }
    print(json.dumps(found, indent=1))
    if given.save is not None:
        given.save.write_text(json.dumps(found) + "\n")


def drawn(truth: torch.Tensor, right: float, k: int, generator: torch.Generator) -> torch.Tensor:
    """Classes that are right this often, with even errors."""
    wrong = (truth + torch.randint(1, k, truth.shape, generator=generator)) % k
    return torch.where(torch.rand(len(truth), generator=generator) < right, truth, wrong)


def right_share(soft: torch.Tensor, truth: torch.Tensor) -> float:
    return round(100 * float((soft.argmax(-1) == truth).double().mean()), 2)


if __name__ == "__main__":
    main()
