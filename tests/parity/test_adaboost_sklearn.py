"""The boosting round against scikit-learn's AdaBoostClassifier (SAMME)."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier

from ensemw2s.core.boosting import boost_round, chance_error

SEEN: list[np.ndarray] = []


class Recording(DecisionTreeClassifier):
    """A tree that keeps the weights it was given."""

    def fit(self, X, y, sample_weight=None, check_input=True):
        SEEN.append(np.asarray(sample_weight, dtype=np.float64).copy())
        return super().fit(X, y, sample_weight=sample_weight, check_input=check_input)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_eight_rounds_have_the_weights_errors_and_alphas_of_scikit_learn(n_classes):
    x, y = make_classification(
        n_samples=300, n_features=8, n_informative=6, n_classes=n_classes, flip_y=0.2, random_state=n_classes
    )
    SEEN.clear()
    theirs = AdaBoostClassifier(Recording(max_depth=2, random_state=0), n_estimators=8, random_state=0).fit(x, y)
    assert len(theirs.estimators_) == 8
    weights = torch.full((300,), 1 / 300, dtype=torch.float64)
    for t, tree in enumerate(theirs.estimators_):
        recorded = SEEN[t] / SEEN[t].sum()
        assert np.abs(weights.numpy() - recorded).max() < 1e-9
        is_wrong = torch.from_numpy(tree.predict(x) != y)
        result = boost_round(is_wrong, weights, prior_error=chance_error(n_classes))
        assert result.outcome == "continue"
        assert abs(result.weighted_error - theirs.estimator_errors_[t]) < 1e-9
        assert abs(result.expert_weight - theirs.estimator_weights_[t]) < 1e-9
        weights = result.sample_weights
