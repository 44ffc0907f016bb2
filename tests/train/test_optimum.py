"""Heads at their optimum: the same whatever the seed, the order or the number of copies; what has none is refused."""

from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import one_hot

from ensemw2s.config import TrainConfig, parse_config
from ensemw2s.core.losses import CrossEntropy, LogConf, WeakBatch
from ensemw2s.core.pacing import Pace
from ensemw2s.core.seeds import stream
from ensemw2s.errors import ConfigError
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.inputs import PooledInputs
from ensemw2s.pipeline.run import run
from ensemw2s.train.loop import predict, train
from ensemw2s.train.samples import Supervision, Validation

N, DIM = 120, 10
LBFGS = TrainConfig(solver="lbfgs")


@pytest.fixture(scope="module")
def inputs():
    values = torch.randn(N, DIM, generator=stream(0, "optimum")) + torch.linspace(0, 40, DIM)
    return PooledInputs((values,), torch.ones(N, dtype=torch.long))


@pytest.fixture(scope="module")
def labels(inputs):
    values = inputs.batch(torch.arange(N))[0][:, 0]
    return (values[:, 0] - values[:, 1] + values[:, 2] - values[:, 2].mean() + 4 > 0).long()


def head(seed: int = 0, hidden: int = 0, dropout: float = 0.0) -> Head:
    return Head(DIM, 2, hidden, dropout, 0.02, stream(seed, "head"))


def supervision(labels, rows) -> Supervision:
    return Supervision(rows, WeakBatch(soft=one_hot(labels[rows], 2).float()), torch.ones(len(rows)))


def fitted(inputs, sup, config=LBFGS, *, seed=0, validation=None) -> Head:
    module = head(seed)
    train(module, inputs, sup, CrossEntropy(), config, seed=seed, validation=validation)
    return module


def test_with_a_given_penalty_it_is_that_of_scikit_learn_on_scaled_features(inputs, labels):
    rows = torch.arange(80)
    module = fitted(inputs, supervision(labels, rows), TrainConfig(solver="lbfgs", l2=0.05))
    values = inputs.batch(torch.arange(N))[0][:, 0].double()
    assert torch.allclose(module.scale.double(), values[:80].std(0, correction=0), rtol=1e-4)
    scaled = (values / module.scale).numpy()
    theirs = LogisticRegression(C=2 / (0.05 * 80), fit_intercept=False, tol=1e-10, max_iter=10_000)
    theirs.fit(scaled[:80], labels[:80].numpy())
    found = predict(module, inputs, torch.arange(N)).exp()
    assert torch.allclose(found.double(), torch.from_numpy(theirs.predict_proba(scaled)), atol=1e-4)


def test_seed_order_and_copies_change_nothing(inputs, labels):
    rows, val = torch.arange(80), torch.arange(80, 120)
    validation = Validation(val, labels[val])
    plain = fitted(inputs, supervision(labels, rows), validation=validation)
    again = fitted(inputs, supervision(labels, rows.flip(0)), seed=7, validation=validation)
    twice = fitted(inputs, supervision(labels, rows.repeat(2)), validation=validation)
    weighted = replace(supervision(labels, rows), weights=torch.full((80,), 1.0))
    for other in (again, twice, fitted(inputs, weighted, validation=validation)):
        assert torch.allclose(other.score.weight, plain.score.weight, atol=1e-4)
    longer = LBFGS.model_copy(update={"epochs": 20})
    assert torch.equal(
        fitted(inputs, supervision(labels, rows), longer, validation=validation).score.weight, plain.score.weight
    )
    assert longer.deciding == LBFGS.deciding


def test_without_validation_data_folds_choose_the_penalty(inputs, labels):
    rows = torch.arange(80)
    module = fitted(inputs, supervision(labels, rows))
    right = (predict(module, inputs, torch.arange(80, N)).argmax(-1) == labels[80:]).float().mean()
    assert float(right) > 0.8


def test_a_dimension_that_is_not_read_stays_unread(inputs, labels):
    module = head()
    is_read = torch.arange(DIM) % 2 == 0
    module.restrict(is_read)
    train(module, inputs, supervision(labels, torch.arange(80)), CrossEntropy(), LBFGS, seed=0)
    assert bool(module.scale[~is_read].isinf().all())
    assert torch.equal(module.score.weight[:, ~is_read], torch.zeros(2, int((~is_read).sum())))


@pytest.mark.parametrize("l2", ["auto", 0.05])
@pytest.mark.parametrize("informative", [0, 1])
def test_of_two_poolings_those_of_least_loss_on_validation_data_are_read(informative, l2, inputs, labels):
    values = inputs.batch(torch.arange(N))[0][:, 0]
    noise = torch.randn(N, DIM, generator=stream(1, "optimum"))
    both = PooledInputs((torch.cat([values, noise] if informative == 0 else [noise, values], dim=1),), inputs.lengths)
    val, block = torch.arange(80, 120), torch.arange(2 * DIM) // DIM
    config, validation = LBFGS.model_copy(update={"l2": l2}), Validation(val, labels[val])

    def trained(n_blocks: int, is_read=None, validation=validation) -> tuple[Head, float]:
        module = Head(2 * DIM, 2, 0, 0.0, 0.02, stream(0, "head"))
        module.n_blocks = n_blocks
        if is_read is not None:
            module.restrict(is_read)
        sup = supervision(labels, torch.arange(80))
        train(module, both, sup, CrossEntropy(), config, seed=0, validation=validation)
        return module, float(-predict(module, both, val).gather(1, labels[val, None]).mean())

    module, loss = trained(2)
    by_hand = [trained(1, is_read) for is_read in (block == 0, block == 1, torch.ones(2 * DIM, dtype=torch.bool))]
    best, least = min(by_hand, key=lambda each: each[1])
    assert loss == pytest.approx(least, abs=1e-6)
    assert torch.equal(module.scale.isfinite(), best.scale.isfinite())
    assert bool(trained(2, validation=None)[0].scale.isfinite()[block == informative].all())


@pytest.mark.parametrize("read", [DIM, 2 * DIM])
def test_where_the_pooling_is_settled_nothing_is_chosen(read, inputs, labels, monkeypatch):
    monkeypatch.setattr("ensemw2s.train.optimum.best_penalty", lambda *_: pytest.fail("a choice"))
    values = inputs.batch(torch.arange(N))[0][:, 0]
    both = PooledInputs((torch.cat([values, values.flip(0)], dim=1),), inputs.lengths)
    module = Head(2 * DIM, 2, 0, 0.0, 0.02, stream(0, "head"))
    module.n_blocks = 2
    module.settle(torch.arange(2 * DIM) < read)
    train(
        module,
        both,
        supervision(labels, torch.arange(80)),
        CrossEntropy(),
        TrainConfig(solver="lbfgs", l2=0.05),
        seed=0,
    )
    assert int(module.scale.isfinite().sum()) == read


def test_what_has_no_optimum_is_refused(inputs, labels):
    sup = supervision(labels, torch.arange(80))
    with pytest.raises(ConfigError, match="fits a linear head"):
        train(head(hidden=4), inputs, sup, CrossEntropy(), LBFGS, seed=0)
    with pytest.raises(ConfigError, match="fits a linear head"):
        train(head(dropout=0.1), inputs, sup, CrossEntropy(), LBFGS, seed=0)
    with pytest.raises(ConfigError, match="convex loss"):
        train(head(), inputs, sup, LogConf(), LBFGS, seed=0)
    with pytest.raises(ConfigError, match="convex loss"):
        train(head(), inputs, replace(sup, pace=Pace(torch.rand(80), 0.3, 0.5)), CrossEntropy(), LBFGS, seed=0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weak": {"adapter": "top"}, "expert_training": {"solver": "lbfgs"}}, "weak.adapter: head"),
        ({"strong": {"head_hidden": 3}, "student_training": {"solver": "lbfgs"}}, "strong.head_hidden: 0"),
        ({"student_training": {"solver": "lbfgs", "dropout": 0.1}}, "student_training.dropout: 0"),
        (
            {"student_training": {"solver": "lbfgs"}, "students": {"recipes": [{}, {"loss": "logconf"}]}},
            "has no optimum to find of logconf-soft",
        ),
        (
            {"student_training": {"solver": "lbfgs"}, "students": {"recipes": [{"curriculum": "confidence"}]}},
            "samples come in an order",
        ),
    ],
)
def test_a_configuration_that_asks_for_it_in_vain_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(changes)


def test_a_run_of_fitted_heads_has_every_row_and_a_longer_training_changes_none(tiny_config, tmp_path):
    training = {"solver": "lbfgs", "dropout": 0.0}
    settings = {
        "seeds": [0],
        "expert_training": training,
        "student_training": training,
        "ensemble": {"n_rounds": 2, "methods": ["single", "bagging", "boosting"]},
        "students": {"recipes": [{}, {"loss": "smoothing", "with_easy": True}]},
    }
    results = run(tiny_config(**settings), tmp_path / "run", store_root=tmp_path / "store")
    assert {"single", "student:boosting:xent-soft", "ceiling"} <= {row.key for row in results.rows}
    single, long = results.row("single"), results.row("single_long")
    # At its optimum an expert gains nothing by more training; the log loss of an ensemble is a calibrated one.
    assert all(single.parts[p]["accuracy"] == long.parts[p]["accuracy"] for p in single.parts)
    more = {name: training | {"epochs": 50, "learning_rate": 0.5} for name in ("expert_training", "student_training")}
    again = run(tiny_config(**settings | more), tmp_path / "more", store_root=tmp_path / "other")
    assert [row.parts for row in again.rows] == [row.parts for row in results.rows]
