"""The figures of the documentation, drawn from the tables of its own pages: no number is written twice.

    python benchmarks/figure.py            # all of docs/figures

A picture whose page has changed is drawn anew by this; a test says where that was forgotten.
"""

import re
from collections.abc import Callable
from pathlib import Path

from dot_plot import Dot, Line, Panel, Plot
from ensemw2s.report.charts import COLOURS, GREY
from method_figures import easy_and_pseudo, label_models, routing, selections
from page_tables import RANGE, ROOT, Table, colour_of, dot, table

BOOSTING, BAGGING, INDEPENDENT = COLOURS["boosting"], COLOURS["bagging"], COLOURS["independent"]
SINGLE, SELF, EASY = COLOURS["single"], COLOURS["self_training"], COLOURS["strong_on_easy"]
STRONG = "the strong model on the easy labels alone"
POINTS = (
    "points of accuracy on the hard test above the strong model on the easy labels; ten seeds, paired, 95% intervals"
)


def sentiment() -> Plot:
    page = "docs/sentiment.md"
    pairs, raters = table(page, "OOD, paired"), table(page, "student learns")
    pool = table(page, "row | models alone")
    tfidf = dot(pairs["strong-on-easy minus TF-IDF"][0], GREY)
    student, chosen = (
        pool["the same, with the easy labels"],
        pool["chosen on easy-val among all students and self-training"],
    )
    lines = [
        Line("TF-IDF and logistic regression", [Dot(-tfidf.mean, -tfidf.high, -tfidf.low, GREY)]),
        Line("boosted ensemble of a pool of weak models", [dot(pool["boosted ensemble"][0], BOOSTING)]),
        Line("its student, with the easy labels", [dot(student[0], BOOSTING)]),
        Line("self-training, with the easy labels", [dot(chosen[0], SELF)]),
        Line("the same, and one person's vote on each text", [dot(chosen[1], SELF)]),
        Line("the pool's student, and three votes on each text", [dot(chosen[2], BOOSTING)]),
        Line("the true hard labels (ceiling)", [dot(raters["the true hard labels (ceiling)"][0], GREY)]),
    ]
    return Plot("What 2,000 unlabelled hard texts are worth", POINTS, [Panel(lines)], reference=(0.0, STRONG))


def sentiment_training() -> Plot:
    found = table("docs/sentiment.md", "row | ID | OOD")
    names = [
        "majority class",
        "TF-IDF and logistic regression",
        "strong model, zero-shot",
        "single weak expert",
        "independent ensemble",
        "bagged ensemble",
        "boosted ensemble",
        "student of the single weak expert",
        "student of the boosted ensemble",
        "strong model on easy labels",
        "self-training with the easy labels (recommended)",
        "ceiling",
    ]
    lines = [
        Line(name, [dot(found[name][1], colour_of(name)), dot(found[name][3], colour_of(name), "ring")])
        for name in names
    ]
    legend = [("circle", "every learner at its optimum"), ("ring", "ten epochs")]
    axis = "right answers on the hard test, %; ten seeds, 95% intervals"
    return Plot("Sentiment: trained to the end, and ten epochs", axis, [Panel(lines)], legend)


def sentiment_raters() -> Plot:
    found = table("docs/sentiment.md", "student learns")
    rows = {
        "labels of the single weak expert": "the single weak expert's labels",
        "the same, with the easy labels": "the same, with the easy labels",
        "the strong model's own labels (self-training)": "the strong model's own labels (self-training)",
        "the true hard labels (ceiling)": "the true hard labels (ceiling)",
    }
    colours = [SINGLE, SINGLE, SELF, GREY]
    lines = []
    for (key, label), colour in zip(rows.items(), colours, strict=True):
        shapes = ("ring", "circle", "square") if colour != GREY else ("square",)
        lines.append(Line(label, [dot(found[key][i], colour, shape) for i, shape in enumerate(shapes)]))
    legend = [("ring", "no rater"), ("circle", "one rater for each text"), ("square", "three raters")]
    return Plot("What a student learns, with and without people", POINTS, [Panel(lines)], legend, (0.0, STRONG))


def sentiment_labels() -> Plot:
    found = table("docs/sentiment.md", "easy labels, seeds")
    named = ("models alone: the boosted pool", "models alone: recommended", "one rater: recommended", "three raters")
    panels = []
    for row, (_, *cells, _) in found.items():
        colours = (BOOSTING, GREY, GREY, GREY)  # what is recommended is not the same in all of them
        lines = [Line(name, [dot(cell, c)]) for name, cell, c in zip(named, cells, colours, strict=True) if cell]
        panels.append(Panel(lines, "{} easy labels, seeds {}".format(*row.split(", "))))
    return Plot("Twice the labels, and another split", POINTS, panels, reference=(0.0, STRONG))


def results() -> Plot:
    sides = [table("docs/results.md", "row | easy-val", f"## {side} weak model") for side in ("Shallow", "Deep")]
    names = {
        "majority class": "majority class",
        "TF-IDF and logistic regression on easy labels": "TF-IDF and logistic regression",
        "strong model on easy labels": "strong model on easy labels",
        "self-training, xent-soft": "self-training",
        "single weak expert": "single weak expert",
        "bagged ensemble": "bagged ensemble",
        "boosted ensemble": "boosted ensemble",
        "student of the single weak expert, xent-soft": "student of the single weak expert",
        "student of the single weak expert, xent-soft+easy": "the same, with the easy labels",
        "student of the boosted ensemble, xent-soft": "student of the boosted ensemble",
        "student of the boosted ensemble, xent-soft+easy": "the same, with the easy labels",
        "ceiling: strong model on the true hard labels": "ceiling: the true hard labels",
    }
    shapes = ("ring", "circle")
    lines = [
        Line(label, [dot(side[key][2], colour_of(key), s) for side, s in zip(sides, shapes, strict=True)])
        for key, label in names.items()
    ]
    legend = [("ring", "weak: the first 8 layers"), ("circle", "weak: the first 12 layers")]
    axis = "right answers on the hard test, %; ten seeds, 95% intervals"
    return Plot("geo-facts: a shallow and a deeper weak model", axis, [Panel(lines)], legend)


def leaderboard() -> Plot:
    found = table("docs/leaderboard.md", "method | whose labels")
    lines = [Line(name, [dot(row[3], _by_labels(name, row[0]))]) for name, row in found.items()]
    axis = "points of accuracy on the hard test above that; means of three tasks, 95% intervals"
    return Plot("41 ways to supervise, on three tasks", axis, [Panel(lines)], reference=(0.0, STRONG))


def leaderboard_words() -> Plot:
    panels = []
    for task in ("geo-countries", "openbookqa"):
        found = table("docs/leaderboard.md", "method | exact match", f"\n### {task}\n")
        panels.append(Panel([Line(name, [dot(row[2], _by_labels(name))]) for name, row in found.items()], task))
    axis = (
        "points of exact match on the hard test above the strong model on the easy answers; five seeds, 95% intervals"
    )
    return Plot(
        "The same where answers are words", axis, panels, reference=(0.0, "the strong model on the easy answers")
    )


def _by_labels(name: str, whose: str = "") -> str:
    """A method's colour is that of the ensemble whose labels it learns, the independent one unless it says another."""
    source = whose.partition(",")[0] or name.removesuffix("+easy").replace("self-training", "self")
    return colour_of(source if source in (*COLOURS, "self") else "independent")


def generation_study() -> Plot:
    panels = []
    for task in ("geo-countries", "number-sorting", "openbookqa"):
        forms = [
            table("docs/generation-study.md", "paired difference", f"## {task}, boosted as “{form}”")
            for form in ("non-trivial", "sequence, held-out errors")
        ]
        names = {
            "boosted ensemble − single weak expert": SINGLE,
            "boosted ensemble − independent ensemble": INDEPENDENT,
            "boosted ensemble − bagged ensemble": BAGGING,
            "student of boosted − student of single": BOOSTING,
        }
        lines = [
            Line(name, [dot(form[name][0], colour, s) for form, s in zip(forms, ("ring", "circle"), strict=True)])
            for name, colour in names.items()
        ]
        panels.append(Panel(lines, task))
    legend = [("ring", "boosted as “non-trivial”"), ("circle", "boosted as “sequence, held-out errors”")]
    axis = "points of exact match on the hard test, paired, 95% intervals"
    return Plot("What boosting adds where answers are words", axis, panels, legend, (0.0, "no difference"))


def replication() -> Plot:
    panels = []
    for task, after in (("sentiment", "Sentiment: 12 layers"), ("geo-facts", "geo-facts: 12 layers")):
        found = table("docs/replication.md", "rung | ensembles", after)
        lines = [Line(name, [dot(row[0], BOOSTING), dot(row[1], BOOSTING, "square")]) for name, row in found.items()]
        panels.append(Panel(lines, task))
    legend = [("circle", "of the ensembles"), ("square", "of the students of their labels")]
    axis = "points of accuracy on the hard test, boosted minus single; 95% intervals"
    return Plot("The gain of boosting, one choice undone after the other", axis, panels, legend, (0.0, "no gain"))


def performance() -> Plot:
    page = "docs/performance.md"
    claims, training = table(page, "claim | measured"), table(page, "claim | measured", "Training, ")
    workers, served = table(page, "claim | measured", "Labelling by workers"), table(page, "claim | one client")
    adapters = table(page, "claim | batch 4", "eight LoRA experts")
    shared = table(page, "claim | batch 4")
    served_row = served["answers per second"][1].partition("; ")[2]
    rows = {
        "labels, against one example and model at a time": _of(claims, "labels per second, shared trunk"),
        "decoding, 8 experts, against 8 whole models (batch 4)": shared[
            "seconds per token, 8 whole models one after another / the ensemble"
        ][0],
        "decoding, 8 adapters, against peft's generate (batch 4)": _of(adapters, "peft's"),
        "training, against the library's Trainer": _of(training, "tokens per second, weighted training"),
        "training, packed against padded": _of(training, "tokens per second, packed"),
        "labels, two workers against one": _of(workers, "labels per second, two"),
        "serving, 32 clients against one": re.sub(r"one client's ", "", served_row),
    }
    lines = [Line(name, [dot(cell, BOOSTING, pattern=RANGE)]) for name, cell in rows.items()]
    axis = "times as fast on the machine above; medians of interleaved measurements and their range"
    return Plot("Speed, side by side", axis, [Panel(lines)], reference=(1.0, "as fast"), is_log=True)


def _of(found: Table, start: str) -> str:
    return next(cells[0] for name, cells in found.items() if name.startswith(start))


def tickets() -> Plot:
    found = table("docs/own-data.md", "row | easy test")
    names = {
        "strong model on the easy labels": EASY,
        "self-training, with the easy labels": SELF,
        "boosted ensemble's student, with the easy labels": BOOSTING,
        "TF-IDF and logistic regression: what the page says to use": GREY,
    }
    lines = [
        Line(name.partition(":")[0], [dot(found[name][0], c, "ring", RANGE), dot(found[name][1], c, "circle", RANGE)])
        for name, c in names.items()
    ]
    legend = [("ring", "easy test"), ("circle", "rambling test")]
    axis = "right answers, %; means of three sets of tickets, with the lowest and the highest of them"
    return Plot("Made-up tickets: what to use", axis, [Panel(lines)], legend)


FIGURES: dict[str, Callable[[], Plot]] = {
    "sentiment": sentiment,
    "sentiment-training": sentiment_training,
    "sentiment-raters": sentiment_raters,
    "sentiment-labels": sentiment_labels,
    "results": results,
    "leaderboard": leaderboard,
    "leaderboard-words": leaderboard_words,
    "generation-study": generation_study,
    "replication": replication,
    "performance": performance,
    "tickets": tickets,
    "label-models": label_models,
    "selections": selections,
    "easy-and-pseudo": easy_and_pseudo,
    "routing": routing,
}
"""Name of the file to what draws it."""


def drawn() -> dict[Path, str]:
    """Every picture, by its file."""
    return {ROOT / "docs" / "figures" / f"{name}.svg": plot().svg() for name, plot in FIGURES.items()}


if __name__ == "__main__":
    for path, text in drawn().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
