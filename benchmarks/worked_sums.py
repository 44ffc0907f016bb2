"""Do second thoughts mend worked solutions? Of one weak expert, on sums in GSM8K's form, beside samples from the start.

python benchmarks/worked_sums.py FOLDER 1      # the folder gets the data and the store; then a seed
"""

import json
import random
import sys
from pathlib import Path

import torch

from ensemw2s.config import load_config
from ensemw2s.forms.generation.labelling.samples import samples_worth
from ensemw2s.forms.generation.scoring import AnswerScoring
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.storage.store import Store

CONFIG = Path(__file__).parents[1] / "configs" / "tasks" / "worked.yaml"
SMALLER = (
    "split.kind=random",  # few right answers to long sums leave nothing to break
    "split.n_easy_train=200",
    "split.n_hard_unlabelled=40",
    "expert_training={epochs: 3, patience: null, schedule: cosine, batch_size: 8, learning_rate: 5.0e-4}",
    "ensemble.select_by=1",
    "generation.decoding.max_new_tokens=96",
)

N = {"train": 1600, "test": 400}
MOST_STEPS, MOST = 6, 40


def problem(rng: random.Random) -> dict[str, str]:
    """Two to seven numbers, added one by one."""
    numbers = [rng.randint(2, MOST) for _ in range(1 + rng.randint(1, MOST_STEPS))]
    total, lines = numbers[0], list[str]()
    for number in numbers[1:]:
        lines.append(f"{total} + {number} = <<{total}+{number}={total + number}>>{total + number}.")
        total += number
    listed = f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
    return {"question": f"What is the sum of {listed}?", "answer": "\n".join([*lines, f"#### {total}"])}


def write_data(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for part, n in N.items():
        rows = [problem(rng) for _ in range(n)]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def measure(folder: Path, seed: int, *settings: str) -> None:
    """Print how right the labels are, and what samples that go on from an answer mend and break of it."""
    config = load_config(CONFIG, [f"task.path={folder}", f"seeds=[{seed}]", *SMALLER, *settings])
    store = Store(folder / "store")
    work = SeedWork(prepare(config, store, lambda model, n: None), store, seed)
    pool = work.members(config.expert_training)
    for _ in work.fit_ensemble("single", pool, pool[0].trainer.prior_error()):
        pass
    made, split = work.ensembles["single"], work.prepared.split
    labels, cost = work.form.experts.label(work.context, made, work.form.experts.ensemble_voters(work.context, made))
    hard = work.context.draw.hard_unlabelled
    truth = split.sealed["hard_pool"].open("evaluation", hard - split.pools["hard_pool"].start)
    print(f"seed {seed} {settings or 'restarts'}: {cost.flops:.2e} FLOPs", flush=True)
    for worth in samples_worth(work.prepared, labels, truth):
        print(f"  {worth.n} samples: majority {100 * worth.majority:.1f}%, any {100 * worth.best:.1f}%")
    for each in AnswerScoring(work.prepared).restarts({"single": labels}, truth).values():
        right, share = each.own_is_right, each.share_right
        mended, broken = share[~right], 1 - share[right]
        print(
            f"  mended {100 * mended.mean():.1f}% of {len(mended)}, broken {100 * broken.mean():.1f}% of {len(broken)}"
        )
    for own, samples in zip(labels.texts[:3], labels.samples.texts, strict=False):
        print(f"  {own!r} -> {samples[:2]!r}")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    write_data(place)
    torch.set_num_threads(1)
    for more in ((), ("generation.restart=null",)):
        measure(place, int(sys.argv[2]), *more)
