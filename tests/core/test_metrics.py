import pytest
import torch
from sklearn.metrics import brier_score_loss, confusion_matrix, f1_score, log_loss, roc_auc_score

from ensemw2s.core import metrics
from ensemw2s.core.calibration import apply_temperature, fit_temperature


def predictions(n: int = 500, k: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    log_probs = (2 * torch.randn(n, k, generator=g)).log_softmax(-1)
    return log_probs, torch.multinomial(log_probs.exp(), 1, generator=g)[:, 0]


def test_figures_equal_those_of_scikit_learn():
    log_probs, labels = predictions()
    p = log_probs.double().softmax(-1).numpy()
    assert metrics.log_loss(log_probs, labels) == pytest.approx(log_loss(labels, p), abs=1e-6)
    assert metrics.brier(log_probs, labels) == pytest.approx(2 * brier_score_loss(labels, p[:, 1]), abs=1e-6)
    assert metrics.auroc(log_probs, labels) == pytest.approx(roc_auc_score(labels, p[:, 1]), abs=1e-9)
    assert metrics.accuracy(log_probs, labels) == pytest.approx(float((p.argmax(1) == labels.numpy()).mean()))


@pytest.mark.parametrize("k", [2, 5])
def test_confusion_and_macro_f1_are_those_of_scikit_learn(k):
    log_probs, labels = predictions(60, k)
    labels = labels.clamp_max(k - 2) if k > 2 else labels  # a class that is predicted and never true
    given = log_probs.argmax(1)
    classes = sorted({*labels.tolist(), *given.tolist()})
    assert metrics.confusion(log_probs, labels).tolist() == confusion_matrix(labels, given, labels=range(k)).tolist()
    expected = f1_score(labels, given, labels=classes, average="macro")
    assert metrics.macro_f1(log_probs, labels) == pytest.approx(expected)


def test_auroc_of_one_class_is_refused_and_ties_count_half():
    log_probs = torch.full((4, 2), 0.5).log()
    with pytest.raises(ValueError, match="both classes"):
        metrics.auroc(log_probs, torch.zeros(4, dtype=torch.long))
    assert metrics.auroc(log_probs, torch.tensor([0, 1, 0, 1])) == 0.5


def test_calibration_error_by_hand():
    log_probs = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [0.35, 0.65]]).log()
    labels = torch.tensor([0, 1, 1, 1])
    bins = metrics.reliability_bins(log_probs, labels)
    assert [(round(b.confidence, 2), b.accuracy, b.n_items) for b in bins] == [(0.65, 1.0, 2), (0.95, 0.5, 2)]
    assert metrics.ece(log_probs, labels) == pytest.approx(0.5 * 0.35 + 0.5 * 0.45)


def test_a_sampled_truth_is_calibrated_and_a_planted_temperature_is_recovered():
    log_probs, labels = predictions(20_000, 3)
    assert metrics.ece(log_probs, labels) < 0.02
    assert fit_temperature(log_probs, labels) == pytest.approx(1.0, abs=0.05)
    sharpened = apply_temperature(log_probs, 1 / 2.5)
    assert fit_temperature(sharpened, labels) == pytest.approx(2.5, abs=0.1)
    assert torch.allclose(apply_temperature(sharpened, 2.5), log_probs, atol=1e-5)


def test_error_correlation_is_pearsons_and_zero_for_constant_experts():
    wrong = torch.tensor([[1, 0, 1, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    found = metrics.error_correlation(wrong)
    assert found[0].tolist() == pytest.approx([1.0, 1.0, -1.0, 0.0])
    assert found[3].tolist() == pytest.approx([0.0, 0.0, 0.0, 1.0])


def test_all_wrong_counts_only_one_shared_wrong_answer():
    answers = torch.tensor([[1, 1, 2, 0], [1, 2, 2, 0]])
    assert metrics.all_wrong_share(answers, torch.tensor([0, 0, 2, 1])) == 0.5


def test_the_quadratic_kappa_of_ordered_classes_is_its_formula():
    log_probs, labels = predictions(200, 5)
    counts = metrics.confusion(log_probs, labels).double()
    far = (torch.arange(5)[:, None] - torch.arange(5)).double() ** 2
    by_chance = counts.sum(1, keepdim=True) * counts.sum(0) / counts.sum()
    expected = 1 - float((far * counts).sum() / (far * by_chance).sum())
    assert metrics.quadratic_kappa(log_probs, labels) == pytest.approx(expected)
    certain = 50.0 * torch.nn.functional.one_hot(labels, 5)
    assert metrics.quadratic_kappa(certain, labels) == pytest.approx(1.0)
    assert metrics.class_distance(certain, labels) == 0.0
    always_the_last = torch.nn.functional.one_hot(torch.full((200,), 4), 5).double()
    assert metrics.quadratic_kappa(always_the_last, labels) == pytest.approx(0.0)
    assert metrics.class_distance(always_the_last, labels) == pytest.approx(float((4 - labels).double().mean()))
    with pytest.raises(ValueError, match="two classes"):
        metrics.quadratic_kappa(log_probs, torch.zeros(200, dtype=torch.long))
