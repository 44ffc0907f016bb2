"""Label models and selections on planted truth: how right their labels are, and what a student makes of them.

    python benchmarks/planted_labels.py [--seeds 12]

The plants are those of planted.py: in three of them errors are independent, shared or systematic; in `uneven` members
are from very good to nearly useless; in `twins` and `biased` what label models assume of the members does not hold. A
linear student learns each label model's labels, or what a selection leaves of the members' mean, by cross-entropy.
What selections trust is a linear model of 100 truly labelled examples of the easy kind (far from the plane) and 200
more of them for checking it. Intervals are Student-t over seeds.
"""

import argparse

import torch
from torch.nn.functional import one_hot

from ensemw2s.core.intervals import seed_interval
from ensemw2s.core.labels import Labelled, Votes, everything
from ensemw2s.core.losses import CrossEntropy, WeakBatch
from ensemw2s.core.selection import Evidence
from ensemw2s.tables import LABEL_MODELS, SELECTIONS
from planted import PLANTED_LABELS as KINDS
from planted import N, Plant, percent_right, planted, shown, student

N_TRUSTED, N_CHECKED = 100, 200


def votes_of(plant: Plant) -> Votes:
    return Votes(plant.member, torch.ones(len(plant.member)), plant.soft)


def taught(plant: Plant, labelled: Labelled, seed: int) -> torch.Tensor:
    """Log-probabilities of all examples by a student of what is kept."""
    rows = labelled.keep.nonzero()[:, 0]
    return student(plant, WeakBatch(soft=labelled.soft[rows]), rows, CrossEntropy(), seed)


def trusted_rows(plant: Plant) -> torch.Tensor:
    """The easiest of the fresh half: labelled truly, and no part of any test."""
    return N + plant.difficulty[N:].argsort()[: N_TRUSTED + N_CHECKED]


def evidence_of(plant: Plant, seed: int) -> Evidence:
    """What selections may see: a model of some of the trusted examples, and the others to check it on."""
    easy = trusted_rows(plant)
    is_learned = torch.arange(len(easy)) % 3 == 0
    learned, checked = easy[is_learned], easy[~is_learned]
    soft = one_hot(plant.truth[learned], 2).float()
    own = student(plant, WeakBatch(soft=soft), learned, CrossEntropy(), seed).exp()
    features = (plant.inputs.values[:N], plant.inputs.values[checked])
    return Evidence(plant.member, own[:N], own[checked], plant.truth[checked], lambda: features)


def figures(plant: Plant, labelled: Labelled, seed: int) -> tuple[float, float]:
    """How right the kept labels are, and the student of them on fresh examples that nobody trusted, in %."""
    tested = torch.ones(2 * N, dtype=torch.bool)
    tested[:N] = tested[trusted_rows(plant)] = False
    found = taught(plant, labelled, seed)
    labels = percent_right(labelled.soft[labelled.keep], plant.truth[:N][labelled.keep])
    return labels, percent_right(found[tested], plant.truth[tested])


def labelled_by(name: str, plant: Plant, seed: int) -> Labelled:
    """By a label model, or by the mean and a selection."""
    if name in LABEL_MODELS:
        return LABEL_MODELS[name]()(votes_of(plant), lambda labels: taught(plant, labels, seed)[:N].exp())
    return SELECTIONS[name]()(everything(plant.soft), evidence_of(plant, seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    seeds = range(parser.parse_args().seeds)
    plants = {kind: [planted(seed, kind) for seed in seeds] for kind in KINDS}
    plain: dict[str, torch.Tensor] = {}
    print("| labels | " + " | ".join(KINDS) + " |\n|" + "---|" * (len(KINDS) + 1))
    for name in [*LABEL_MODELS, *(n for n in SELECTIONS if n != "all")]:
        cells = []
        for kind, drawn in plants.items():
            pairs = [figures(p, labelled_by(name, p, s), s) for s, p in zip(seeds, drawn, strict=True)]
            labels, students = torch.tensor(pairs, dtype=torch.float64).T
            found = plain.setdefault(kind, students)  # the first row is the ensemble's own vote
            gain = shown(seed_interval(students), "") if name == "vote" else shown(seed_interval(students - found), "+")
            cells.append(f"{float(labels.mean()):.1f}; {gain}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print("\nRight labels in %; the student: accuracy in % (vote) or points above the vote's student, paired by seed.")


if __name__ == "__main__":
    main()
