"""The core functions take NumPy arrays and tensors alike, and return what they were given."""

import numpy as np
import pytest
import torch

from ensemw2s.core.arrays import accepts_arrays
from ensemw2s.core.boosting import boost_round
from ensemw2s.core.calibration import apply_temperature, fit_temperature
from ensemw2s.core.difficulty import p_true_difficulty, uncertainty
from ensemw2s.core.intervals import Resamples, mean_interval, paired_p_value, pgr, seed_interval
from ensemw2s.core.labels import Votes, everything
from ensemw2s.core.losses import WeakBatch
from ensemw2s.core.metrics import (
    accuracy,
    all_wrong_share,
    auroc,
    balanced_accuracy,
    brier,
    confidence_bins,
    ece,
    error_correlation,
    log_loss,
    reliability_bins,
)
from ensemw2s.core.selection import Evidence
from ensemw2s.core.voting import agreement, combine, staged
from ensemw2s.tables import LABEL_MODELS, LOSSES, SELECTIONS
from tiny_run import READ_JUDGES

N, T = 12, 3
RANDOM = np.random.default_rng(0)
MEMBER = RANDOM.dirichlet([1.0, 1.0], size=(T, N)).astype(np.float32)
SOFT = MEMBER.mean(0)
LOG = np.log(SOFT)
LABELS = np.arange(N) % 2
WRONG = RANDOM.random((T, N)) < 0.4
WEIGHTS = np.full(N, 1 / N)
ALPHA = np.array([1.0, 0.5, 0.2])
VALUES = [RANDOM.random((4, N)) < share for share in (0.9, 0.5, 0.99)]
FEATURES = RANDOM.normal(size=(2 * N, 5)).astype(np.float32)


def resamples(groups):
    return Resamples.draw(groups, 4, torch.Generator().manual_seed(0), n_resamples=50)


FUNCTIONS = {
    "boost_round": (lambda w, d: boost_round(w, sample_weights=d, prior_error=0.6), [WRONG[0], WEIGHTS]),
    "combine": (combine, [np.log(MEMBER), ALPHA]),
    "staged": (lambda p, w: list(staged(p, w)), [np.log(MEMBER), ALPHA]),
    "agreement": (agreement, [np.log(MEMBER), LOG]),
    "temperature": (lambda p, y: apply_temperature(p, fit_temperature(p, y)), [LOG, LABELS]),
    "uncertainty": (lambda p: uncertainty(p, "margin"), [LOG]),
    "p_true_difficulty": (p_true_difficulty, [LOG, LABELS]),
    **{f.__name__: (f, [LOG, LABELS]) for f in (accuracy, auroc, balanced_accuracy, brier, ece, log_loss)},
    "reliability_bins": (reliability_bins, [LOG, LABELS]),
    "confidence_bins": (confidence_bins, [SOFT.max(1), WRONG[0]]),
    "error_correlation": (error_correlation, [WRONG]),
    "all_wrong_share": (all_wrong_share, [MEMBER.argmax(-1), LABELS]),
    "means": (lambda v, g: resamples(g).means(v), [VALUES[0].astype(float), LABELS]),
    "mean_interval": (lambda v, g: mean_interval(v, resamples(g)), [VALUES[0].astype(float), LABELS]),
    "paired_p_value": (lambda v, g: paired_p_value(v, resamples(g)), [VALUES[0] - VALUES[1].astype(float), LABELS]),
    "seed_interval": (seed_interval, [ALPHA]),
    "pgr": (lambda *v: pgr(*v[:3], resamples(v[3])), [*(v.astype(float) for v in VALUES), LABELS]),
    "everything": (everything, [SOFT]),
}


def pieces(kind):
    """Losses, label models and selections, called on values of one kind."""

    def loss(name, logits, soft, member, group):
        piece = LOSSES[name]()
        batch = WeakBatch(soft, member, group)
        return piece(logits, batch, piece.stats(logits, batch), train_frac=0.5)

    def label_model(name, member, weights, soft):
        learn = lambda labelled: labelled.soft * 1  # noqa: E731  (a student that learns its labels by heart)
        return LABEL_MODELS[name]()(Votes(member, weights, soft), learn)

    def selection(name, member, soft, labels, features):
        evidence = Evidence(member, soft, soft, labels, lambda: (features[:N], features[N:]))
        return SELECTIONS[name]()(everything(soft), evidence)

    return {"loss": loss, "label model": label_model, "selection": selection}[kind]


PIECES = [
    *(("loss", name, [LOG, SOFT, MEMBER, LABELS]) for name in LOSSES),
    *(("label model", name, [MEMBER, ALPHA, SOFT]) for name in LABEL_MODELS if name not in READ_JUDGES),
    *(("selection", name, [MEMBER, SOFT, LABELS, FEATURES]) for name in SELECTIONS),
]


def leaves(value):
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def check(function, arrays):
    given = function(*arrays)
    expected = function(*map(torch.from_numpy, arrays))
    for ours, theirs in zip(leaves(given), leaves(expected), strict=True):
        assert not isinstance(ours, torch.Tensor)
        assert isinstance(theirs, torch.Tensor) == isinstance(ours, np.ndarray)
        if isinstance(ours, np.ndarray):
            assert torch.from_numpy(ours).dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs.numpy())
        else:
            assert ours == theirs


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_gives_arrays_for_arrays_and_tensors_for_tensors(name):
    check(*FUNCTIONS[name])


@pytest.mark.parametrize(("kind", "name", "arrays"), PIECES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_piece_gives_arrays_for_arrays_and_tensors_for_tensors(kind, name, arrays):
    check(lambda *values: pieces(kind)(name, *values), arrays)


def test_a_function_among_the_arguments_sees_arrays_and_may_return_them():
    seen = []

    @accepts_arrays
    def apply(values: torch.Tensor, change) -> torch.Tensor:
        return change(values)

    def change(values):
        seen.append(type(values))
        return values + 1

    assert isinstance(apply(np.ones(2), change), np.ndarray)
    assert isinstance(apply(torch.ones(2), change), torch.Tensor)
    assert seen == [np.ndarray, torch.Tensor]


def test_arrays_of_any_layout_are_read_and_none_is_written_to():
    log_probs = np.log(MEMBER)[:, ::-1]
    log_probs.flags.writeable = False
    before = log_probs.copy()
    np.testing.assert_array_equal(combine(log_probs, ALPHA), combine(before, ALPHA))
    np.testing.assert_array_equal(log_probs, before)
    assert accuracy(LOG[::2], LABELS[::2].astype(np.int8)) == accuracy(LOG[::2], LABELS[::2])
