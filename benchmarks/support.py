"""A user's task of answers in words: support questions, plain ones answered, rambling ones not.

    python benchmarks/support.py [--seeds 5] [--labelled 200]

Each seed writes its own questions (ten products, five things that one may want), lets `ensemw2s init` write the
configuration, runs it, and prints the exact match of every row on the plain and on the rambling test beside how long
the run took. The weak model is the strong one with fewer trained parameters: a network that is cut in the middle
cannot speak. The results are in benchmarks/results/support.jsonl, a line per seed.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from own_files import kept, line_of, ran, show

RESULTS = Path(__file__).parent / "results" / "support.jsonl"
N_UNLABELLED, N_TEST = 150, 200
PRODUCTS = {
    "kettle": "base",
    "lamp": "switch",
    "router": "back",
    "vacuum": "handle",
    "camera": "lid",
    "speaker": "top",
    "printer": "front",
    "heater": "side",
    "clock": "rim",
    "scale": "glass",
}
"""Each with the place of its button."""
WISHES = {
    "reset": (
        ["reset", "factory reset"],
        "Hold the {place} button for {n} seconds.",
    ),
    "clean": (["clean", "wash", "get the dirt out of"], "Unplug the {product} and wipe the {place} with a dry cloth."),
    "return": (["return", "send back", "give back"], "Print the label for the {product} and take it to the post."),
    "pair": (["connect to my phone", "pair", "link with the app"], "Press the button on the {place} twice."),
    "repair": (["get repaired", "have mended", "fix"], "Write to the {product} workshop."),
}
"""Ways to name a wish, and the answer to it."""
PLAIN = ["How do I {wish} my {product}?", "How can I {wish} the {product}?", "I want to {wish} my {product}."]
RAMBLING = [
    "{aside} Now I wonder how one would {wish} the {product}. {aside2}",
    "{aside} {aside2} So, is there a way to {wish} this {product}?",
    "The {product} again. {aside} I suppose I must {wish} it. {aside2}",
]
ASIDES = [
    "My daughter gave it to me for my birthday.",
    "We moved house in spring and half of our things are still in boxes.",
    "It stood in the cellar for a year.",
    "I am not good with such things.",
    "The other one, the {other}, works well.",
    "I asked in the shop, but nobody knew.",
    "Thank you for your patience.",
    "I had an old one before, which never gave me trouble.",
]


def questions(n: int, *, is_plain: bool, rng: random.Random) -> list[dict[str, str]]:
    """Questions with a column for the text and one for its answer."""
    rows = []
    for _ in range(n):
        product, wish = rng.choice(list(PRODUCTS)), rng.choice(list(WISHES))
        names, answer = WISHES[wish]
        words = {"wish": rng.choice(names), "product": product}
        words |= {name: rng.choice(ASIDES).format(other=rng.choice(list(PRODUCTS))) for name in ("aside", "aside2")}
        text = rng.choice(PLAIN if is_plain else RAMBLING).format(**words)
        n_seconds = 5 + list(PRODUCTS).index(product)
        rows.append({"question": text, "reply": answer.format(product=product, place=PRODUCTS[product], n=n_seconds)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=200, help="the first seed; it was developed on 100 to 102")
    parser.add_argument("--labelled", type=int, default=200)
    options = parser.parse_args()
    lines = []
    for seed in range(options.first, options.first + options.seeds):
        rng = random.Random(f"support {seed}")
        files = {
            "labelled": questions(options.labelled, is_plain=True, rng=rng),
            "unlabelled": questions(N_UNLABELLED, is_plain=False, rng=rng),
            "test": questions(N_TEST, is_plain=False, rng=rng),
        }
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            line = line_of(ran(files, "reply", Path(folder), seed, {}), seed)
        lines.append(line | {"n_labelled": options.labelled, "seconds": round(time.perf_counter() - began)})
        print(json.dumps(lines[-1]), flush=True)
    show(kept(RESULTS, lines))


if __name__ == "__main__":
    main()
