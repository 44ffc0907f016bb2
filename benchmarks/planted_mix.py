"""Easy labels and pseudo-labels together, on planted truth: what their mixture and their order do.

    python benchmarks/planted_mix.py [--seeds 12]

The plants are those of planted.py. Of the fresh half the 100 examples farthest from the plane are the labelled easy
ones; the weak labels of the other half are the pseudo-labels, and self-training learns what the strong model says after
the easy ones. Linear students; tested on the rest of the fresh half; intervals are Student-t over seeds.
"""

import argparse

import torch

from ensemw2s.config.recipe import Recipe
from ensemw2s.core.intervals import seed_interval
from ensemw2s.core.labels import Labelled, Votes, everything
from ensemw2s.core.losses import CrossEntropy, WeakToStrongLoss
from ensemw2s.core.seeds import stream
from ensemw2s.models.adapting.head import Head
from ensemw2s.train.loop import predict, train
from ensemw2s.train.samples import Supervision
from ensemw2s.train.supervision import StudentData, true_labels
from planted import CONFIG, DIM, PLANTS, N, Plant, percent_right, planted, shown

N_EASY = 100
RECIPES = {
    "pseudo-labels only": Recipe(),
    "both": Recipe(with_easy=True),
    "both, easy_weight 0.5": Recipe(with_easy=True, easy_weight=0.5),
    "both, easy_weight 2": Recipe(with_easy=True, easy_weight=2.0),
    "both, easy_weight 4": Recipe(with_easy=True, easy_weight=4.0),
    "both, weigh_by confidence": Recipe(with_easy=True, weigh_by="confidence"),
    "both, curriculum by confidence": Recipe(with_easy=True, curriculum="confidence"),
    "both, curriculum by difficulty": Recipe(with_easy=True, curriculum="difficulty"),
    "pseudo-labels, next-round": Recipe(label_model="next-round"),
    "both, next-round": Recipe(label_model="next-round", with_easy=True),
}


def trained(plant: Plant, supervision: Supervision, loss: WeakToStrongLoss, seed: int) -> torch.Tensor:
    """Log-probabilities of all 2 N examples by a student of this supervision."""
    module = Head(DIM, 2, hidden=0, dropout=0.0, init_std=0.02, generator=stream(seed, "init"))
    train(module, plant.inputs, supervision, loss, CONFIG, seed=seed)
    return predict(module, plant.inputs, torch.arange(2 * N), link=loss.link)


def students(seed: int, kind: str) -> dict[str, float]:
    """Accuracy of every student on what none was trained on, in %."""
    plant = planted(seed, kind)
    easy = N + plant.difficulty[N:].argsort()[:N_EASY]
    tested = torch.ones(2 * N, dtype=torch.bool)
    tested[:N] = tested[easy] = False
    data = StudentData(easy, plant.truth[easy], torch.arange(N), plant.difficulty, torch.full((N,), -1))
    votes = Votes(plant.member, torch.ones(len(plant.member)), plant.soft)

    def student(recipe: Recipe, labelled: Labelled, member: torch.Tensor) -> torch.Tensor:
        loss = recipe.make_loss()
        return trained(plant, data.by_recipe(recipe, loss, labelled, member), loss, seed)

    on_easy = trained(plant, true_labels(easy, plant.truth[easy], 2), CrossEntropy(), seed)
    own = on_easy[:N].exp()
    found = {"strong on easy": on_easy, "self-training": student(Recipe(), everything(own), own[None])}
    for name, recipe in RECIPES.items():
        labelled = recipe.make_label_model()(votes, lambda labels: student(Recipe(), labels, plant.member)[:N].exp())
        found[name] = student(recipe, labelled, plant.member)
    return {name: percent_right(f[tested], plant.truth[tested]) for name, f in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    seeds = range(parser.parse_args().seeds)
    found = {kind: [students(seed, kind) for seed in seeds] for kind in PLANTS}
    print("| student | " + " | ".join(PLANTS) + " |\n|" + "---|" * (len(PLANTS) + 1))
    for name in next(iter(found.values()))[0]:
        cells = []
        for of_seeds in found.values():
            own, plain = (
                torch.tensor([f[n] for f in of_seeds], dtype=torch.float64) for n in (name, "pseudo-labels only")
            )
            is_plain = name == "pseudo-labels only"
            cells.append(shown(seed_interval(own if is_plain else own - plain), "" if is_plain else "+"))
        print(f"| {name} | {' | '.join(cells)} |")
    print("\npseudo-labels only: accuracy in %; the others: points above it, paired by seed.")


if __name__ == "__main__":
    main()
