"""What a reader of a run must know and no figure says."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ensemw2s.data.balance import rare_classes
from ensemw2s.data.people import people_among, people_note
from ensemw2s.ensemble.contexts import exportable
from ensemw2s.ensemble.methods import methods_of_several
from ensemw2s.evaluation.conditions import all_conditions
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.strong.students import ClassStudents
from ensemw2s.forms.generation.labelling.samples import samples_worth
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.prepared import Prepared, Truth
from ensemw2s.forms.role import Role
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.results import Condition
from ensemw2s.results.conditions import AUTO, SELF
from ensemw2s.tables import METHODS
from ensemw2s.train.pairs import LessonEnd

_WRONG = ("wrong_before", "wrong_after")


def run_notes(seeds: Sequence[SeedWork]) -> list[str]:
    """Sentences on the data, the models and the split, on what `auto` chose, and on people's answers."""
    prepared, people = seeds[0].prepared, seeds[0].prepared.people
    notes = _common_notes(prepared)
    labels = {
        each.condition: each.label
        for each in all_conditions(prepared.config.ensemble.methods, prepared.config.students)
    }
    if chosen := [f"the {labels[work.chosen]} (seed {work.seed})" for work in seeds if work.chosen is not None]:
        notes.append(f"`auto` took {'; '.join(chosen)}.")
    notes += [note for each, label in labels.items() if (note := _lesson_note(label, seeds, each))]
    if isinstance(prepared, ClassPrepared):
        notes += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in rare_classes(prepared.split.easy_counts)]
        if reason := ClassStudents(prepared).why_no_zero_shot(seeds[0].context):
            notes.append(f"There is no zero-shot row: {reason}")
    names = {work.seed: prepared.names_of(work.context.draw.hard_unlabelled) for work in seeds}
    answered = {seed: len(people_among(people, each)) for seed, each in names.items()}
    notes += people_note(answered, len(people)) + _voters_note(prepared)
    return notes + _gate_notes(seeds) + _contexts_note(prepared)


def _gate_notes(seeds: Sequence[SeedWork]) -> list[str]:
    """Where a gate was asked for, whose it is used and whose not."""
    if seeds[0].config.ensemble.vote != "gated":
        return []
    notes = list[str]()
    for method in methods_of_several(seeds[0].config.ensemble):
        used = [str(work.seed) for work in seeds if work.ensembles[method].gate is not None]
        whose = f"The gate of the {METHODS[method].label} is used in"
        unlike = "the half of easy-val that it did not learn from does not show that it wins"
        if not used:
            notes.append(f"{whose} no seed: {unlike}, so the vote is the soft one.")
        elif len(used) < len(seeds):
            notes.append(f"{whose} seed{'s' * (len(used) > 1)} {', '.join(used)}: elsewhere {unlike}.")
        else:
            notes.append(f"{whose} every seed.")
    return notes


def _lesson_note(label: str, seeds: Sequence[SeedWork], condition: Condition) -> str:
    """What became of a row's second lesson; empty where it has none."""
    outcomes = [work.outcomes[condition] for work in seeds if condition in work.outcomes and condition != AUTO]
    lessons = [outcome.second for outcome in outcomes if outcome.second is not None]
    if not lessons:
        return ""
    without = sum((Counter(each.lesson.facts["n_without"]) for each in lessons), Counter[str]())
    n_asked = sum(each.lesson.facts["n_questions"] for each in lessons)
    guards = [each.lesson.facts["guard"] for each in lessons if "guard" in each.lesson.facts]
    ends = [LessonEnd.of(each.record) for each in lessons if each.record is not None]
    sentence = f"Second lesson of the {label}: {sum(end.n_pairs for end in ends)} pairs of {n_asked} questions"
    if without:
        sentence += f" (none where {', '.join(f'{reason}: {n}' for reason, n in without.most_common())})"
    judged = f" {_guards_note(guards)}" if guards else ""
    if not ends:
        return f"{sentence}, so there was nothing to learn.{judged}"
    right = [[1.0 - wrong for end in ends if (wrong := getattr(end, name)) is not None] for name in _WRONG]
    chosen = [[getattr(end, name) for end in ends] for name in ("chosen_before", "chosen_after")]
    before, after = (f"{100 * fmean(each):.1f}" for each in right)
    likely, then = (f"{fmean(each):.2f}" for each in chosen)
    return (
        f"{sentence}. Right on easy-val: {before}% before it, {after}% after; a token of the better answers had a log-"
        f"probability of {likely}, then {then}. It was kept in {sum(end.is_kept for end in ends)} of {len(lessons)} "
        f"seeds: where easy-val is no better after it, the student from before stays.{judged}"
    )


def _guards_note(guards: Sequence[Mapping[str, Any]]) -> str:
    """How far judges changed the pairs, and by what."""
    shares = sorted(Counter(each["share"] for each in guards).items())
    turned = ", ".join(f"{100 * share:.0f}% of the pairs in {n} seed{'s' * (n > 1)}" for share, n in shares)
    areas = [each["auroc"] for each in guards if each["auroc"] is not None]
    area = f" The judges find the reversed ones with an AUROC of {fmean(areas):.2f}." if areas else ""
    n_pairs, n_reversed = (
        sum(each) for each in zip(*((g["n_pairs"], g["n_reversed"][0]) for g in guards), strict=True)
    )
    return (
        f"The judges may turn round {turned} (with 0% they change nothing), as {n_pairs} pairs of easy questions say "
        f"whose order is known, {n_reversed} of these reversed.{area}"
    )


def samples_notes(seeds: Sequence[SeedWork], hard: Sequence[Truth | None]) -> list[str]:
    """How right the votes of drawn answers are, by their number, where answers were drawn and the truth is known."""
    notes: list[str] = []
    for teacher in seeds[0].labels:
        worth = [
            samples_worth(work.prepared, work.labels[teacher], [str(text) for text in truth])
            for work, truth in zip(seeds, hard, strict=True)
            if truth is not None and isinstance(work.prepared, AnswerPrepared) and work.labels[teacher].samples
        ]
        if not worth:
            continue
        who = "strong model on easy labels" if teacher == SELF else METHODS[teacher].label
        each = [
            f"{n[0].n}: {100 * fmean(w.majority for w in n):.1f}% (any of them {100 * fmean(w.best for w in n):.1f}%)"
            for n in zip(*worth, strict=True)
        ]
        notes.append(
            f"Right labels of the {who} by the majority of its members and so many samples: {', '.join(each)}."
        )
    return notes


def _voters_note(prepared: Prepared) -> list[str]:
    if not isinstance(prepared, ClassPrepared) or prepared.votes is None:
        return []
    n = len(prepared.votes.voters)
    who = "1 outside voter has" if n == 1 else f"{n} outside voters have"
    return [
        f"{who} a part in the labels that students learn, self-training among them, and in no test: the ensembles' "
        "rows are those of the models alone. The strong model on easy labels learned none of their votes, so a "
        "student's lead over it is partly theirs."
    ]


def _contexts_note(prepared: Prepared) -> list[str]:
    """Of contexts that a model wrote."""
    ensemble = prepared.config.ensemble
    kept, context = exportable(ensemble), ensemble.context
    if not (written := [method for method in ensemble.methods if method not in kept]):
        return []
    labels = " and ".join(f"the {METHODS[method].label}" for method in written)
    who = "the strong model, which is the one to be supervised and may argue for what it wants"
    who = who if context.written_by == "strong" else "the weak model"
    return [
        f"The {context.kind} that {labels} read were written by {who}; the rows of members that read the question "
        "alone say what they are worth. They were written for the questions of this run, so an exported ensemble could "
        "not read its own: the folder `ensemble` holds the best of the others."
    ]


def _common_notes(prepared: Prepared) -> list[str]:
    notes = [f"Of the data: {note}." for note in prepared.task.notes]
    if prepared.config.is_tiny:
        notes.append("The models are tiny, with random weights: no figure of this run means anything.")
    if prepared.config.split.kind == "random":
        notes.append(
            "The split is random: the labelled, the unlabelled and both tests are samples of one distribution, and "
            "where this page says easy or hard, ID or OOD, nothing is harder than the rest."
        )
    strong, is_pool = prepared.strong.trunk, len(prepared.pool) > 1
    for weak in (role.trunk for role in prepared.pool if isinstance(role, Role)):
        if weak.fingerprint != strong.fingerprint:
            continue
        if weak.n_layers != strong.n_layers:
            which = "A member of the pool" if is_pool else "The weak"
            notes.append(
                f"{which} and the strong model are two depths of one network ({weak.n_layers} and {strong.n_layers} "
                f"layers of {prepared.strong.config.model}) with small trained parts."
            )
        elif is_pool:
            notes.append("The strong model itself is a member of the pool, whose features supervise it, too.")
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
