"""What a reader of a run must know and no figure says."""

from collections.abc import Sequence

from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.pipeline.generation.work import AnswerOutcome
from ensemw2s.pipeline.prepare import Prepared
from ensemw2s.pipeline.rows import SeedOutcome


def run_notes(prepared: Prepared | AnswerPrepared) -> list[str]:
    """What a reader must know and no figure says."""
    notes = [f"Of the data: {note}." for note in prepared.task.notes]
    if prepared.config.is_tiny:
        notes.append("The models are tiny, with random weights: no figure of this run means anything.")
    if prepared.config.split.kind == "random":
        notes.append(
            "The split is random: the labelled, the unlabelled and both tests are samples of one distribution, and "
            "where this page says easy or hard, ID or OOD, nothing is harder than the rest."
        )
    weak, strong = prepared.weak.backbone, prepared.strong.backbone
    if weak.fingerprint == strong.fingerprint and weak.n_layers != strong.n_layers:
        notes.append(
            f"The weak and the strong model are two depths of one network ({weak.n_layers} and {strong.n_layers} "
            f"layers of {prepared.strong.config.model}) with small trained parts."
        )
    if prepared.task.split_uses_labels:
        notes.append("The difficulty was computed from the true labels of the hard side (split_uses_labels).")
    if "hard_pool" not in prepared.split.sealed:
        notes.append(
            "The true answers of the unlabelled questions are unknown: there is no ceiling, so no gap recovered, and "
            "nobody can say how many of the weak labels are right."
        )
    if "ood_test" not in prepared.split.pools:
        notes.append(
            "No test set of the unlabelled kind of question: how any row does on them is unknown. The recommended row "
            "is chosen on easy validation data, and ID is held out from the labelled data. A hundred unlabelled "
            "questions answered by hand, as task.test, would tell."
        )
    notes.append(
        "Intervals are over seeds (each draws its own training part from the pools) and test items, for one split; "
        "another split.seed would move all rows together."
    )
    return notes


def chosen_notes(outcomes: Sequence[SeedOutcome | AnswerOutcome]) -> list[str]:
    """What `auto` stands for, seed by seed."""
    rows = {outcome.seed: outcome.chosen for outcome in outcomes if outcome.chosen is not None}
    return [f"`auto` took {', '.join(f'{row} (seed {seed})' for seed, row in rows.items())}."] if rows else []
