"""A user's task from its files on: support tickets of four classes, plain ones labelled, rambling ones not.

    python benchmarks/tickets.py [--seeds 10] [--weak-layers 12] [--strong-layers 24]

Each seed writes its own tickets (400 labelled, 3,000 unlabelled, 1,000 to test), lets `ensemw2s init` write the
configuration (three draws of the labelled tickets), runs it, and compares the recommended row with TF-IDF and logistic
regression (the run's own rival) and with logistic regressions of scikit-learn on pooled features of the strong model:
of the last token and of the mean, after the bare text and after a cue. Of these four the best is told by its right
answers on the test itself, which favours it. The results are in benchmarks/results/tickets.jsonl, a line per seed.
"""

import argparse
import json
import random
import tempfile
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ensemw2s.config import ModelConfig
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.trunk import pooled_features
from own_files import kept, line_of, ran, show

RESULTS = Path(__file__).parent / "results" / "tickets.jsonl"
N_LABELLED, N_UNLABELLED, N_TEST = 400, 3000, 1000
SHARES = {"billing": 0.45, "delivery": 0.3, "account": 0.17, "returns": 0.08}
MATTERS = {
    "billing": ["the invoice", "a payment", "the monthly charge", "a fee", "the price", "my credit card", "the bill"],
    "delivery": ["my parcel", "the courier", "the shipment", "a package", "the driver", "the tracking", "my order"],
    "account": ["my password", "the login", "my profile", "the username", "my email address", "two-factor codes"],
    "returns": ["a refund", "the return label", "an exchange", "sending it back", "the wrong size", "a broken item"],
}
FAULTS = {
    "billing": ["was taken twice", "is higher than agreed", "does not add up", "was declined", "shows another amount"],
    "delivery": [
        "never came",
        "is three days late",
        "went to a neighbour",
        "is stuck somewhere",
        "was left in the rain",
    ],
    "account": ["does not work", "is locked", "cannot be changed", "is not recognised", "keeps logging me out"],
    "returns": [
        "has not been processed",
        "was refused",
        "is missing from the box",
        "takes for ever",
        "was not accepted",
    ],
}
PLAIN = [
    "{matter} {fault}.",
    "Hello, {matter} {fault}.",
    "I have a question: {matter} {fault}.",
    "{matter} {fault}, why?",
]
RAMBLING = [
    "{aside} Anyway, {matter} {fault}. {aside2}",
    "{aside} {aside2} What I am writing for is that {matter} {fault}.",
    "So {matter} {fault}, can you believe it. {aside} {aside2}",
]
ASIDES = [
    "I have been a customer since my sister showed me your shop.",
    "My neighbour says the same happened to her last year.",
    "It rained all week and the children are at home.",
    "I called twice and nobody picked up the phone.",
    "The app is nice, by the way, only a little slow.",
    "I do not want to complain, I am usually very patient.",
    "Sorry for my English, I write this on the train.",
    "Last month everything went well with {other}.",
]


def tickets(n: int, *, is_plain: bool, rng: random.Random) -> list[dict[str, str]]:
    """Tickets with a column for the text and one for its class."""
    rows = []
    for label in rng.choices(list(SHARES), list(SHARES.values()), k=n):
        other = rng.choice([each for each in SHARES if each != label])
        words = {
            "matter": rng.choice(MATTERS[label]),
            "fault": rng.choice(FAULTS[label]),
            "other": rng.choice(MATTERS[other]),
        }
        words |= {name: rng.choice(ASIDES).format(**words) for name in ("aside", "aside2")}
        text = rng.choice(PLAIN if is_plain else RAMBLING).format(**words)
        rows.append({"text": _mistyped(text[0].upper() + text[1:], 0.01 if is_plain else 0.02, rng), "team": label})
    return rows


def _mistyped(text: str, share: float, rng: random.Random) -> str:
    """Letters left out or doubled at random."""
    drawn = ((letter, rng.random()) for letter in text)
    return "".join(
        letter if not letter.isalpha() or chance > share else rng.choice(["", 2 * letter]) for letter, chance in drawn
    )


def files_of(seed: int) -> dict[str, list[dict[str, str]]]:
    rng = random.Random(f"tickets {seed}")
    return {
        "labelled": tickets(N_LABELLED, is_plain=True, rng=rng),
        "unlabelled": tickets(N_UNLABELLED, is_plain=False, rng=rng),
        "test": tickets(N_TEST, is_plain=False, rng=rng),
    }


def on_features(files: dict[str, list[dict[str, str]]], n_train: int, n_layers: int) -> dict[str, float]:
    """Share of right answers on the test of logistic regressions on pooled features, of as many labels as the run's."""
    parts, found = (files["labelled"][:n_train], files["test"]), dict[str, float]()
    for pooling in ("last", "mean"):
        backbone = load_backbone(ModelConfig(n_layers=n_layers, pooling=pooling))
        for cue in ("", "\nTeam:"):
            X = []
            for rows in parts:
                ids = backbone.tokenizer([row["text"] + cue for row in rows])["input_ids"]
                X.append(pooled_features(backbone, ids, [n_layers], batch_tokens=2048)[n_layers].double().numpy())
            y = [np.array([row["team"] for row in rows]) for rows in parts]
            fitted = make_pipeline(
                StandardScaler(),
                LogisticRegressionCV(max_iter=2000, l1_ratios=(0,), scoring="neg_log_loss"),
            ).fit(X[0], y[0])
            found[f"{pooling}{' cued' if cue else ''}"] = float((fitted.predict(X[1]) == y[1]).mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=200, help="the first seed; it was developed on 100 to 102")
    parser.add_argument("--weak-layers", type=int, default=12)
    parser.add_argument("--strong-layers", type=int, default=24)
    options = parser.parse_args()
    changes = {"weak": {"n_layers": options.weak_layers}, "strong": {"n_layers": options.strong_layers}}
    lines = []
    for seed in range(options.first, options.first + options.seeds):
        files = files_of(seed)
        with tempfile.TemporaryDirectory() as folder:
            results = ran(files, "team", Path(folder), seed, changes)
        line = line_of(results, seed)
        line["features"] = on_features(files, results.task.sizes["easy_train"], options.strong_layers)
        lines.append(line)
        print(json.dumps(line), flush=True)
    show(kept(RESULTS, lines))


if __name__ == "__main__":
    main()
