"""Items to look at: their kinds are counted over all items, and few enough are kept."""

from dataclasses import replace

import torch

from ensemw2s.core.routing import RoutingSignals
from ensemw2s.evaluation.items import MOST_CHARACTERS, MOST_ITEMS, MOST_OF_A_KIND, Questions, items_of
from ensemw2s.evaluation.routing_signals import RoutingRecord
from ensemw2s.evaluation.scored import ScoredSeed
from ensemw2s.results.conditions import student
from evaluation.test_recommend import row
from evaluation.test_table import scored_seed

N = 600
CHOICES = ("no", "yes")
STUDENT = student("boosting", "xent-soft")


def seed_of(labels: list[str], members: list[tuple[str, ...]], answers: torch.Tensor, truths: list[str]) -> ScoredSeed:
    ids, zeros = tuple(f"q{i}" for i in range(len(labels))), torch.zeros(len(labels))
    signals = RoutingSignals(zeros, zeros, zeros)
    record = RoutingRecord(0, "boosting", ids, tuple(labels), tuple(members), tuple(labels), signals, None)
    made = scored_seed(0)
    conditions = made.conditions | {STUDENT: replace(made.conditions[STUDENT], hard_answers=answers)}
    right = torch.tensor([a == b for a, b in zip(labels, truths, strict=True)])
    rows = torch.arange(len(labels))
    made = replace(made, hard_rows=rows, hard_groups=rows, conditions=conditions)
    return replace(made, signals=record, labels_right=right, checker_right=right)


def test_items_are_counted_by_kind_and_the_telling_ones_are_kept():
    truths = ["yes"] * N
    labels = ["no" if i % 4 == 0 else "yes" for i in range(N)]  # 150 wrong, of which the student mends a half
    answers = torch.tensor([0 if i % 8 == 0 or i % 4 == 1 else 1 for i in range(N)])  # and it breaks 150
    members = [("yes", "no") if i < 30 else ("yes", "yes") for i in range(N)]
    chosen = row(STUDENT.key, 0.9, 0.7)
    questions = Questions(tuple(f"{i} " + "long " * 200 for i in range(N)), tuple(truths))
    found = items_of(seed_of(labels, members, answers, truths), questions, CHOICES, [chosen], chosen)
    assert found is not None
    assert found.counts == {"mended": 75, "broken": 150, "disagree": 30}
    assert (found.n_items, found.student, len(found.items)) == (N, STUDENT.key, MOST_ITEMS)
    kept = [item.kinds for item in found.items]
    assert sum("mended" in kinds for kinds in kept) >= MOST_OF_A_KIND
    assert sum("disagree" in kinds for kinds in kept) == 30
    assert all(len(item.text) <= MOST_CHARACTERS for item in found.items)
    assert len({item.id for item in found.items}) == MOST_ITEMS
    first = found.items[0]
    assert (first.label, first.student, first.truth) == ("no", "yes", "yes")
    assert (first.is_right, first.student_is_right) == (False, True)


def test_where_nobody_knows_the_truth_only_disagreement_is_told():
    made = seed_of(["no", "yes"], [("no", "yes"), ("yes", "yes")], torch.tensor([1, 1]), ["yes", "yes"])
    made = replace(made, labels_right=None, checker_right=None)
    chosen = row("strong_on_easy", 0.9, 0.7)
    rows = [chosen, row(STUDENT.key, 0.8, 0.7)]
    found = items_of(made, Questions(("a", "b"), None), CHOICES, rows, chosen)
    assert found is not None
    assert found.counts == {"mended": 0, "broken": 0, "disagree": 1}
    assert found.student == STUDENT.key  # the best student, where a baseline is recommended
    assert [(item.truth, item.is_right, item.student_is_right) for item in found.items] == [(None, None, None)] * 2
    assert items_of(made, None, CHOICES, rows, chosen) is None
