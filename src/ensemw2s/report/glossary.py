"""The words that a report needs, explained once; every page links to them."""

from typing import NamedTuple


class Term(NamedTuple):
    title: str
    meaning: str


GLOSSARY: dict[str, Term] = {
    "alpha": Term(
        "Vote (alpha)",
        "How much an expert's vote weighs in boosting, in nats: 0 where it is not above chance.",
    ),
    "balanced": Term(
        "Balanced accuracy",
        "Mean of the accuracies on each class, so that a rare class counts as much as a common one.",
    ),
    "baseline": Term(
        "Baseline",
        "A row that needs no weak supervision. A student is worth its cost where it is above these.",
    ),
    "boosting": Term(
        "Boosted ensemble",
        "Weak experts trained one after another, each on what its predecessors get wrong; they vote with weights.",
    ),
    "bagging": Term(
        "Bagged ensemble",
        "Weak experts that each learn a random sample of the labelled examples, drawn with replacement; they "
        "vote equally.",
    ),
    "broken": Term(
        "Broken labels",
        "Right labels of unlabelled items to which the student that learned them gives a wrong answer, as a share of "
        "the right ones.",
    ),
    "ceiling": Term(
        "Ceiling",
        "The strong model trained on the true labels of the hard examples: what perfect labels would give.",
    ),
    "confidence": Term(
        "Confidence",
        "The probability that a row gives to its own answer.",
    ),
    "context": Term(
        "Context",
        "What a member reads before each question: labelled examples, a principle, or what a model wrote of it.",
    ),
    "converged": Term(
        "Converged",
        "More training would change nothing that matters: the optimum is reached, or easy validation data no "
        "longer improve.",
    ),
    "drop": Term(
        "Drop",
        "How much less often a row answers the questions of a test truly once they are worded otherwise, paired by "
        "item and seed.",
    ),
    "easy-labels": Term(
        "With the easy labels",
        "The student also learns the true labels of the easy examples, beside the weak labels of the hard ones.",
    ),
    "easy-val": Term(
        "Easy validation data (easy-val)",
        "Labelled easy examples kept from training. Every choice is made on them, so that both tests stay unseen.",
    ),
    "ensemble": Term(
        "Ensemble",
        "Several weak experts that vote.",
    ),
    "error-correlation": Term(
        "Error correlation",
        "How far two members are wrong on the same items: 1 always, 0 by chance. A vote mends only errors "
        "that are not shared.",
    ),
    "ess": Term(
        "Effective sample size",
        "How many items the boosting weights still spread over: 1 divided by the sum of the squared weights.",
    ),
    "flops": Term(
        "Cost (FLOPs)",
        "Multiplications and additions of all that a row needs, the making of its labels included; the same "
        "on every machine.",
    ),
    "gap-recovered": Term(
        "Performance gap recovered (PGR)",
        "(student − single weak expert) / (ceiling − single weak expert) on the hard test: 0% is no better "
        "than its weak supervisor, 100% is as good as true labels. Undefined where the gap itself is not "
        "clear; never clipped.",
    ),
    "gate": Term(
        "Gate",
        "Says question by question how much to believe each member of an ensemble. It is used only where labelled "
        "examples that it did not learn from show that it wins.",
    ),
    "hard-labels": Term(
        "Hard labels",
        "The student learns the label that the ensemble thinks likeliest, as if it were certain.",
    ),
    "id-ood": Term(
        "ID and OOD",
        "The two tests: ID holds easy items like the labelled ones (in distribution), OOD holds hard ones "
        "like the unlabelled (out of distribution). A run is judged by OOD.",
    ),
    "independent": Term(
        "Independent ensemble",
        "Weak experts that differ in their random seed alone; they vote equally.",
    ),
    "interval": Term(
        "95% interval",
        "Where the figure would mostly fall with other seeds and another test of this size. Seeds and test "
        "items are resampled together; below ten seeds it is Student's t over the seeds where that is wider.",
    ),
    "class-distance": Term(
        "Class distance",
        "Ordered classes: by how many classes an answer is off, on average; 0 where all are right.",
    ),
    "kappa": Term(
        "Steadiness (kappa)",
        "Cohen's kappa between the answers of two seeds to the same unlabelled items: 1 if the answers do not "
        "depend on which labelled examples were drawn, 0 if they agree by chance alone.",
    ),
    "macro-f1": Term(
        "Macro-F1",
        "For each class the harmonic mean of precision and recall, then the mean over the classes.",
    ),
    "mended": Term(
        "Mended labels",
        "Wrong labels of unlabelled items to which the student that learned them gives the right answer all the same, "
        "as a share of the wrong ones. This is what weak-to-strong generalization is.",
    ),
    "merged": Term(
        "Merged ensemble",
        "One model that is made of several weak experts by adding up what each of their trainings changed; it costs "
        "what one expert costs.",
    ),
    "outside-voter": Term(
        "Outside voter",
        "Somebody or something other than the weak models that votes on items: people, rules, other services.",
    ),
    "prompted": Term(
        "Prompted ensemble",
        "The pretrained model itself, asked behind one context after the other; nothing is trained.",
    ),
    "quadratic-kappa": Term(
        "Quadratic weighted kappa",
        "Ordered classes: agreement with the truth beyond chance, 1 at most, where an answer that is off by two "
        "classes counts four times as much as one that is off by one.",
    ),
    "recall": Term(
        "Recall",
        "Of the items of a class, the share that is given that class.",
    ),
    "seed": Term(
        "Seed",
        "One repetition of the whole experiment, with its own draw of labelled and unlabelled examples and "
        "its own random numbers.",
    ),
    "self-training": Term(
        "Self-training",
        "The strong model learns the easy labels, labels the hard examples itself, and is trained on these "
        "labels (and on outside voters' votes, where there are some).",
    ),
    "single": Term(
        "Single weak expert",
        "One weak model trained on the easy labels.",
    ),
    "soft-labels": Term(
        "Soft labels",
        "The student learns the ensemble's probabilities, not just its answer.",
    ),
    "strong-on-easy": Term(
        "Strong-on-easy",
        "The strong model trained on the labelled easy examples alone. Whoever has a strong model and labels "
        "can have it, so weak supervision has to beat it.",
    ),
    "student": Term(
        "Student",
        "The strong model trained on the labels that weak supervisors give to the hard examples.",
    ),
    "tf-idf": Term(
        "TF-IDF",
        "Logistic regression on weighed word counts: no language model, seconds of work.",
    ),
    "trivial": Term(
        "Trivial rivals",
        "Ways to answer without a language model: the majority class, TF-IDF, the answer of the nearest easy question.",
    ),
    "weak-expert": Term(
        "Weak expert",
        "A weak model trained on the easy labels; an ensemble has several.",
    ),
    "weak-supervision": Term(
        "Weak supervision",
        "Labels made by models (or voters) that are weaker than the model that learns them.",
    ),
}
"""Anchor to term, in the order of the page."""
