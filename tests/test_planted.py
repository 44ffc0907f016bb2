"""Every loss, label model and selection on the published plants: what a student can mend it mends, the rest stays.

The figures of the pages are those of the same plants over many seeds (`benchmarks/planted.py`, `planted_labels.py`).
"""

from functools import cache

import pytest

from ensemw2s.tables import LABEL_MODELS, LOSSES, SELECTIONS
from planted import N, accuracy, percent_right, planted
from planted_labels import evidence_of, figures, labelled_by
from tiny_run import READ_JUDGES

READS_OWN = [name for name, kind in SELECTIONS.items() if kind.reads_own]
ONLY_AGREES = "consistent"  # it keeps what both say, so of an error that all members share little is left to mend
RANDOM, SHARED = ("independent", "correlated"), "systematic"


VOTES_ALONE = [name for name in LABEL_MODELS if name not in READ_JUDGES]


@cache
def weak(kind: str) -> float:
    """Right labels of the members' mean, in %."""
    plant = planted(0, kind)
    return percent_right(plant.soft, plant.truth[:N])


@cache
def taught(name: str, kind: str) -> float:
    plant = planted(0, kind)
    return figures(plant, labelled_by(name, plant, 0), 0)[1]


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("name", LOSSES)
def test_a_student_of_any_loss_averages_random_errors_away(name, kind):
    assert accuracy(LOSSES[name](), 0, kind) > weak(kind) + 8


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_mends_an_error_that_all_members_share(name):
    assert abs(accuracy(LOSSES[name](), 0, SHARED) - weak(SHARED)) < 9


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("name", [*VOTES_ALONE, *SELECTIONS])
def test_a_student_of_any_labels_averages_random_errors_away(name, kind):
    assert taught(name, kind) > weak(kind) + 5


@pytest.mark.parametrize("name", [*VOTES_ALONE, *(n for n in SELECTIONS if n not in READS_OWN or n == ONLY_AGREES)])
def test_no_use_of_the_votes_mends_an_error_that_all_members_share(name):
    assert abs(taught(name, SHARED) - weak(SHARED)) < 9


@pytest.mark.parametrize("name", [name for name in READS_OWN if name != ONLY_AGREES])
def test_what_the_strong_model_knows_by_itself_mends_a_shared_error(name):
    assert taught(name, SHARED) > taught("vote", SHARED) + 4


def test_copies_of_a_bad_member_mislead_confusion_matrices_and_not_learned_weights():
    assert taught("dawid-skene", "twins") < taught("vote", "twins") - 5
    assert taught("raven", "twins") > taught("vote", "twins") + 2


def test_evidence_holds_no_label_of_what_it_is_asked_about():
    told = evidence_of(planted(0, SHARED), 0)
    assert len(told.trusted_labels) == len(told.trusted_own) < N
