"""The option that is taken: normalised by length, for every size and member."""

import pytest
import torch

from ensemw2s.ensemble.words.choices import choice_labels, staged_choices
from ensemw2s.ensemble.words.scores import StagedScores

SIZES = torch.tensor([1, 2, 3, 1, 2])  # three options of the first question, two of the second
OPTIONS = [("a", "b c", "d e f"), ("g", "h i")]


def scores(member: list[list[float]], together: list[list[float]]) -> StagedScores:
    gold = [torch.tensor(values) for values in (member, together)]
    wrong = torch.zeros(2, 9, dtype=torch.bool)
    return StagedScores(gold[0], wrong, gold[1], wrong, SIZES)


def test_a_long_option_does_not_lose_by_its_length():
    first = [-1.0, -0.6, -0.6, -0.9, -0.9, -0.9, -0.2, -0.5, -0.5]  # means: 1, .6, .9 | .2, .5
    second = [-0.1, -0.6, -0.6, -0.9, -0.9, -0.9, -0.9, -0.5, -0.5]
    found = staged_choices(scores([first, second], [first, second]), [3, 2])
    assert found.member.tolist() == [[1, 0], [0, 1]]
    assert found.together.tolist() == [[1, 0], [0, 1]]
    expected = torch.tensor([-0.1, -0.6, -0.9]).exp()
    assert float(found.share[1, 0]) == pytest.approx(float(expected[0] / expected.sum()), rel=1e-6)


def test_the_label_is_what_all_take_together_with_every_members_own():
    other = [-0.1, -0.6, -0.6, -0.9, -0.9, -0.9, -0.2, -0.5, -0.5]
    same = [-1.0, -0.6, -0.6, -0.9, -0.9, -0.9, -0.2, -0.5, -0.5]
    labels = choice_labels(staged_choices(scores([other, same], [other, same]), [3, 2]), OPTIONS)
    assert [label["answer"] for label in labels] == ["b c", "g"]
    assert labels[0]["members"] == ["a", "b c"]
    assert [label["agreement"] for label in labels] == [0.5, 1.0]
