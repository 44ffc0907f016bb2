"""Members that read a part of the trunk: random dimensions of its feature, or a depth of their own."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression

from ensemw2s.config import EnsembleConfig
from ensemw2s.config.ensemble import dealt_depths
from ensemw2s.core.sampling import dealt, subspace
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.fit import EnsembleState, Weak, fit_expert, grow, held_out_errors
from ensemw2s.ensemble.learners import trunk as trunk_learner
from ensemw2s.ensemble.learners.trunk import TrunkLearner
from ensemw2s.ensemble.methods import depths_of
from ensemw2s.models.activations import PooledInputs
from ensemw2s.models.adapting.adapters import n_used
from ensemw2s.models.adapting.head import Head
from ensemw2s.tables import METHODS
from ensemw2s.train.loop import predict
from tiny_run import stepped

DIM, N, N_TRAIN, N_LAYERS = 10, 400, 200, 6


def inputs(values: torch.Tensor) -> PooledInputs:
    return PooledInputs((values,), torch.full((len(values),), 4))


def data() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = make_classification(N, DIM, n_informative=6, n_redundant=2, flip_y=0.1, random_state=0)
    return torch.from_numpy(x).float(), torch.from_numpy(y)


def weak(hidden: int = 0, epochs: int = 4, **training) -> Weak:
    values, labels = data()
    # A depth sees the features through a noise of its own.
    noise = {d: torch.randn(N, DIM, generator=stream(0, "noise", d)) for d in range(1, N_LAYERS)}
    learner = TrunkLearner(
        inputs=inputs(values),
        build=lambda g: Head(DIM, 2, hidden, 0.0, 0.02, g),
        training=stepped(**({"epochs": epochs, "batch_size": 50, "learning_rate": 0.02} | training)),
        at_depth={d: inputs(values + n) for d, n in noise.items()},
    )
    return Weak(
        learner=learner,
        X=torch.arange(N),
        rows=torch.arange(N_TRAIN),
        labels=labels[:N_TRAIN],
        group_ids=[str(i) for i in range(N_TRAIN)],
        n_classes=2,
        n_layers=N_LAYERS,
    )


def grown(method: str, config: EnsembleConfig, of: Weak | None = None) -> EnsembleState:
    of, state = of or weak(), EnsembleState.start(method, 0, N_TRAIN)
    while not state.finished:
        state = grow(state, fit_expert(of, state, config), config, 0.5)
    return state


def read(expert) -> torch.Tensor:
    return expert.state["scale"].isfinite()


def test_no_method_with_views_is_among_the_default_ones():
    with_views = [m for m in METHODS if METHODS[m].needs_pooled_head]
    assert with_views == ["subspace", "layers", "contexts", "prompted"]
    assert not any(METHODS[m].needs_pooled_head for m in EnsembleConfig().methods)


@pytest.mark.parametrize("hidden", [0, 4])
def test_a_member_of_a_subspace_is_a_head_trained_on_those_features_alone(hidden):
    (expert, _) = grown("subspace", EnsembleConfig(n_rounds=2), weak(hidden)).experts
    kept, whole = read(expert), weak(hidden)
    assert int(kept.sum()) == DIM // 2

    def sliced_head(generator):
        head = Head(DIM, 2, hidden, 0.0, 0.02, generator)
        first = head.hidden if head.hidden is not None else head.score
        first.weight = torch.nn.Parameter(first.weight.detach()[:, kept].clone())
        head.scale = head.scale[kept]
        return head

    learner = replace(whole.learner, inputs=inputs(data()[0][:, kept]), build=sliced_head)
    alone = replace(whole, learner=learner)
    fitted = fit_expert(alone, EnsembleState.start("independent", 0, N_TRAIN), EnsembleConfig())
    assert torch.allclose(expert.log_probs, fitted.log_probs, atol=1e-5)
    assert (
        n_used(expert.state)
        == n_used(fitted.state)
        == sum(t.numel() for name, t in fitted.state.items() if name != "scale")
    )


def test_what_a_member_does_not_read_changes_nothing_of_it():
    of = weak()
    expert = grown("subspace", EnsembleConfig(n_rounds=1), of).experts[0]
    head = Head(DIM, 2, 0, 0.0, 0.02, stream(0, "any"))
    head.scale.copy_(expert.state["scale"])
    head.score.weight.data.copy_(expert.state["score.weight"])
    other = torch.where(read(expert), data()[0], 1e6)
    assert torch.equal(predict(head, inputs(other), torch.arange(N)), expert.log_probs)


def test_subspaces_are_as_large_as_scikit_learns_and_a_member_is_the_logistic_regression_of_its_slice():
    values, labels = data()
    config = EnsembleConfig(n_rounds=8, feature_share=0.5)
    experts = grown("subspace", config, weak(epochs=150, weight_decay=0.0, learning_rate=0.1, batch_size=200)).experts
    theirs = BaggingClassifier(
        LogisticRegression(C=1e6, fit_intercept=False), 8, max_features=0.5, bootstrap=False, random_state=0
    ).fit(values[:N_TRAIN].numpy(), labels[:N_TRAIN].numpy())
    assert {int(read(e).sum()) for e in experts} == {len(f) for f in theirs.estimators_features_} == {DIM // 2}
    assert len({tuple(read(e).tolist()) for e in experts}) > 4
    for e in experts:  # each member is the logistic regression of its slice
        x = (values[:, read(e)] / e.state["scale"][read(e)]).numpy()
        same = LogisticRegression(C=1e6, fit_intercept=False).fit(x[:N_TRAIN], labels[:N_TRAIN].numpy())
        assert (torch.from_numpy(same.predict(x)) == e.log_probs.argmax(-1)).float().mean() > 0.98


def test_a_view_of_everything_is_an_independent_expert():
    plain = grown("independent", EnsembleConfig(n_rounds=3)).experts
    for method, config in (
        ("subspace", EnsembleConfig(n_rounds=3, feature_share=1)),
        ("layers", EnsembleConfig(n_rounds=3, layer_range=(N_LAYERS, N_LAYERS))),
    ):
        for a, b in zip(plain, grown(method, config).experts, strict=True):
            assert (a.seed, a.view) == (b.seed, b.view)
            assert torch.equal(a.log_probs, b.log_probs)


def test_members_read_the_depth_they_were_dealt():
    config = EnsembleConfig(n_rounds=4, layer_range=(2, 5))
    experts = grown("layers", config).experts
    assert sorted(e.view.depth for e in experts) == [2, 3, 4, 5]
    for e in experts:
        head = Head(DIM, 2, 0, 0.0, 0.02, stream(0, "any"))
        head.scale.copy_(e.state["scale"])
        head.score.weight.data.copy_(e.state["score.weight"])
        assert torch.equal(predict(head, weak().learner.at_depth[e.view.depth], torch.arange(N)), e.log_probs)


@pytest.mark.parametrize("method", ["subspace", "layers"])
def test_what_is_trained_on_folds_reads_what_the_member_reads(method, monkeypatch):
    read: list[tuple[int, tuple[bool, ...]]] = []
    plain = trunk_learner.train

    def train(module, inputs, *rest, **settings):
        read.append((id(inputs), tuple(module.scale.isfinite().tolist())))
        return plain(module, inputs, *rest, **settings)

    monkeypatch.setattr(trunk_learner, "train", train)
    state, config, of = EnsembleState.start(method, 0, N_TRAIN), EnsembleConfig(n_folds=2), weak()
    fit_expert(of, state, config)
    held_out_errors(of, state, config)
    assert len(read) == 3
    assert len(set(read)) == 1


@pytest.mark.parametrize(("n", "seed"), [(1, 0), (3, 1), (7, 2)])
def test_every_depth_is_dealt_as_often_as_can_be_whatever_follows(n, seed):
    found = [dealt(n, position, seed) for position in range(4 * n)]
    for t in range(1, 4 * n + 1):
        counts = Counter(found[:t])
        assert max(counts.values()) - min(counts.get(v, 0) for v in range(n)) <= 1
    assert n == 1 or len({tuple(found[i : i + n]) for i in range(0, 4 * n, n)}) > 1


def test_a_subspace_has_its_share_of_the_dimensions_and_at_least_one():
    for n, share, size in ((576, 0.5, 288), (3, 0.01, 1), (7, 1, 7)):
        assert int(subspace(n, share, stream(0, "a")).sum()) == size
    often = torch.stack([subspace(8, 0.5, stream(i, "a")) for i in range(400)]).float().mean(0)
    assert float((often - 0.5).abs().max()) < 0.1


def test_depths_are_by_default_the_upper_half_and_only_where_they_are_asked_for():
    assert depths_of(EnsembleConfig(), 12, (0, 1)) == set()
    assert depths_of(EnsembleConfig(methods=("layers",)), 12, (0, 1)) == {7, 8, 9, 10, 11}
    assert list(dealt_depths(None, 1)) == [1]
