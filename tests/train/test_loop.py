"""The training loop: weights, accumulation, resuming, and what it leaves alone."""

import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from sklearn.utils.class_weight import compute_sample_weight
from torch.nn.functional import cross_entropy, one_hot

from ensemw2s.config import CacheConfig, ModelConfig
from ensemw2s.core.losses import CrossEntropy, LogConf, WeakBatch, global_stats
from ensemw2s.core.pacing import Pace
from ensemw2s.core.seeds import stream
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import build_adapter, owned_state
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.inputs import IdInputs, PooledInputs
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.storage.store import Store
from ensemw2s.train.checkpoint import Checkpointer, snapshot
from ensemw2s.train.loop import predict, train
from ensemw2s.train.optim import learning_rate_at, make_optimizer, n_steps
from ensemw2s.train.samples import Supervision, balanced
from tiny_run import stepped
from watching import steps_told_to

DIM, N = 6, 24


def inputs(n: int = N) -> PooledInputs:
    values = torch.randn(n, DIM, generator=stream(0, "values"))
    return PooledInputs(tuple(values.split(10)), torch.arange(n) % 7 + 3)


def head(dropout: float = 0.0) -> Head:
    return Head(DIM, 2, 0, dropout, 0.02, stream(0, "head"))


def supervision(weights: torch.Tensor | None = None, rows: torch.Tensor | None = None) -> Supervision:
    rows = torch.arange(N) if rows is None else rows
    soft = torch.rand(N, 2, generator=stream(0, "soft")).softmax(-1)[rows]
    return Supervision(rows, WeakBatch(soft=soft), torch.ones(len(rows)) if weights is None else weights)


def trained(module, sup, loss=None, seed=0, checkpointer=None, data=None, **settings):
    config = stepped(**({"epochs": 3, "batch_size": 8, "learning_rate": 0.05} | settings))
    data = inputs() if data is None else data
    train(module, data, sup, loss or CrossEntropy(), config, seed=seed, checkpointer=checkpointer)
    return owned_state(module)


def same(a: dict, b: dict, tolerance: float = 0.0) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], atol=tolerance, rtol=0) for k in a)


@pytest.mark.parametrize("loss", [CrossEntropy(), LogConf(aux_coef=0.6, warmup_frac=0.5)], ids=["xent", "logconf"])
def test_eight_accumulated_batches_of_one_equal_one_batch_of_eight(loss):
    whole = trained(head(), supervision(), loss)
    assert same(whole, trained(head(), supervision(), loss, micro_batch_size=1), 1e-6)
    assert same(whole, trained(head(), supervision(), loss, micro_batch_size=3), 1e-6)
    assert not same(whole, trained(head(), supervision(), loss, batch_size=4), 1e-3)


@dataclass(frozen=True)
class Listening:
    """LogConf that notes what it was given."""

    plain: LogConf = field(default_factory=lambda: LogConf(aux_coef=0.6, warmup_frac=0.0))
    needs_stats: bool = True
    needs_groups: bool = False
    needs_members: bool = False
    for_generation: bool = False
    link: str = "softmax"
    heard: list = field(default_factory=list)

    def stats(self, student_logits, batch):
        return global_stats(student_logits, batch.soft)

    def __call__(self, student_logits, batch, stats, *, train_frac):
        self.heard.append((student_logits.detach().clone(), batch.soft, stats.class_bias))
        return self.plain(student_logits, batch, stats, train_frac=train_frac)


@pytest.mark.parametrize("micro_batch_size", [None, 1, 3])
def test_statistics_are_of_the_very_logits_that_are_trained_on_dropout_and_all(micro_batch_size):
    loss = Listening()
    trained(head(0.5), supervision(), loss, micro_batch_size=micro_batch_size)
    parts = {None: 1, 1: 8, 3: 3}[micro_batch_size]
    assert len(loss.heard) == 9 * parts  # three epochs of three steps
    for start in range(0, len(loss.heard), parts):
        logits, soft, biases = zip(*loss.heard[start : start + parts], strict=True)
        expected = global_stats(torch.cat(logits), torch.cat(soft)).class_bias
        assert all(torch.allclose(bias, expected, atol=1e-6) for bias in biases)


def test_unit_weights_are_plain_training_with_the_librarys_own_loss():
    config = stepped(epochs=2, batch_size=N, learning_rate=0.05, weight_decay=0.0)
    module, sup = head(), supervision()
    train(module, inputs(), sup, CrossEntropy(), config, seed=0)
    plain, values = head(), inputs().batch(torch.arange(N))[0]
    optimizer = torch.optim.AdamW(plain.parameters(), weight_decay=0.0)
    for step in range(2):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, 2, config)
        optimizer.zero_grad()
        loss = cross_entropy(plain(values, torch.ones(N, 1).long()), sup.targets.soft)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
    assert same(owned_state(module), owned_state(plain), 1e-6)


def test_a_zero_weight_is_a_sample_that_no_gradient_hears_of():
    weights = torch.ones(N)
    weights[3] = 0.0
    poisoned = supervision(weights)
    poisoned.targets.soft[3] = one_hot(torch.tensor(1), 2).float() * 1e3
    assert same(trained(head(), supervision(weights)), trained(head(), poisoned))


def test_weights_are_not_renormalised_within_a_batch():
    config = stepped(epochs=1, batch_size=N, learning_rate=1e-6, max_grad_norm=1e9)
    gradients = []
    for scale in (1.0, 2.0):
        module = head()
        train(module, inputs(), supervision(torch.full((N,), scale)), CrossEntropy(), config, seed=0)
        gradients.append(module.score.weight.grad.clone())
    assert torch.allclose(2 * gradients[0], gradients[1], atol=1e-6)


def test_the_learning_rate_warms_up_and_decays_by_hand():
    config = stepped(learning_rate=1.0, warmup_frac=0.2, schedule="cosine")
    rates = [learning_rate_at(s, 10, config) for s in range(10)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2] == 1.0
    assert rates[6] == pytest.approx(0.5 * (1 + math.cos(math.pi * 4 / 8)))
    linear = config.model_copy(update={"schedule": "linear"})
    assert learning_rate_at(6, 10, linear) == pytest.approx(0.5)
    assert n_steps(9, stepped(epochs=2, batch_size=4)) == 6


def test_training_leaves_the_callers_random_stream_alone_and_depends_on_its_seed():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = trained(head(0.3), supervision())
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert same(first, trained(head(0.3), supervision()))
    assert not same(first, trained(head(0.3), supervision(), seed=1), 1e-4)


def test_predictions_keep_their_order_and_do_not_depend_on_the_batch():
    module, data = head(), inputs()
    rows = torch.tensor([5, 0, 17, 3, 3, 22])
    found = [predict(module, data, rows, batch_tokens=b) for b in (1, 20, 10_000)]
    assert torch.allclose(found[0], found[1], atol=1e-6)
    assert torch.allclose(found[0], found[2], atol=1e-6)
    alone = torch.cat([predict(module, data, rows[i : i + 1]) for i in range(6)])
    assert torch.allclose(found[0], alone, atol=1e-6)


@pytest.fixture(scope="module")
def tiny_top(tmp_path_factory):
    """A `top` module with the token activations it reads, of unequal lengths."""
    config = ModelConfig(model="tiny", n_layers=3, adapter="top", top_layers=1)
    backbone = load_backbone(config)
    ids = backbone.tokenizer(["Is 9 above 3?"[: 3 + 5 * i % 11] for i in range(N)])["input_ids"]
    store = Store(tmp_path_factory.mktemp("store"))
    data = open_activations(backbone, ids, config=config, cache=CacheConfig(), store=store)
    module = build_adapter(config, backbone, 2, dropout=0.2, init_std=0.5, generator=stream(0, "init"))
    return module, data


def test_padding_changes_no_prediction_of_a_module_that_reads_tokens(tiny_top):
    module, data = tiny_top
    assert len(data.lengths.unique()) > 5
    rows = torch.randperm(N, generator=stream(0, "rows"))
    alone = torch.cat([predict(module, data, rows[i : i + 1]) for i in range(N)])
    assert float(alone.std(0).min()) > 1e-3
    for batch_tokens in (1, 40, 10_000):
        assert torch.allclose(predict(module, data, rows, batch_tokens=batch_tokens), alone, atol=1e-6)


def test_a_snapshot_is_plain_tensors_and_holds_no_frozen_weight(tiny_top):
    module, data = tiny_top
    optimizer = make_optimizer(module, stepped(adam_beta2=0.95))
    assert [group["betas"] for group in optimizer.param_groups] == [(0.9, 0.95)]
    module(*data.batch(torch.arange(4))).sum().backward()
    optimizer.step()
    state = snapshot(module, optimizer, 7)
    assert all(type(tensor.detach()) in (torch.Tensor, torch.nn.Parameter) for tensor in state.values())
    owned = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    kinds = ("parameter", "exp_avg", "exp_avg_sq", "step")
    assert state.keys() == {"step", "rng"} | {f"{kind}/{name}" for kind in kinds for name in owned}
    optimizer.zero_grad()


class Stopped(Exception):
    pass


def test_a_pace_that_lets_all_in_changes_nothing_and_another_one_does_whatever_the_micro_batches():
    hardness = torch.rand(N, generator=stream(0, "hardness"))
    plain = supervision()
    assert same(trained(head(0.3), plain), trained(head(0.3), replace(plain, pace=Pace(hardness, 1.0, 0.5))))
    paced = replace(plain, pace=Pace(hardness, 0.25, 0.8))
    whole = trained(head(), paced)
    assert same(whole, trained(head(), paced, micro_batch_size=1), 1e-6)
    assert not same(whole, trained(head(), plain), 1e-3)


@pytest.mark.parametrize("pace", [None, Pace(torch.arange(float(N)), 0.25, 0.75)], ids=["plain", "curriculum"])
@pytest.mark.parametrize("adapter", ["top", "lora"])
def test_a_training_resumed_from_its_checkpoint_equals_the_uninterrupted_one(adapter, pace, tmp_path):
    config = ModelConfig(model="tiny", n_layers=3, adapter=adapter, top_layers=1, lora_rank=2)
    backbone = load_backbone(config)
    ids = backbone.tokenizer([f"Is {i} above {3 * i % 17}?" for i in range(N)])["input_ids"]
    store = Store(tmp_path)
    if adapter == "lora":
        data = IdInputs(tuple(map(tuple, ids)), backbone.pad_id)
    else:
        data = open_activations(backbone, ids, config=config, cache=CacheConfig(), store=store)

    def fresh():
        return build_adapter(config, backbone, 2, dropout=0.2, init_std=0.02, generator=stream(0, "init"))

    training = stepped(epochs=2, batch_size=4, learning_rate=0.01, dropout=0.2, checkpoint_steps=2)
    lesson = replace(supervision(), pace=pace)
    whole = fresh()
    train(whole, data, lesson, CrossEntropy(), training, seed=0)

    def stop(done: int) -> None:
        if done == 7:
            raise Stopped

    checkpointer = Checkpointer(store, "ab" * 32)
    with pytest.raises(Stopped), steps_told_to(stop):
        train(fresh(), data, lesson, CrossEntropy(), training, seed=0, checkpointer=checkpointer)
    saved = checkpointer.load()
    assert int(saved["step"]) == 6
    steps: list[int] = []
    resumed = fresh()
    with steps_told_to(steps.append):
        train(resumed, data, lesson, CrossEntropy(), training, seed=0, checkpointer=checkpointer)
    assert steps == list(range(7, 13))
    a, b = owned_state(whole), owned_state(resumed)
    assert all(torch.equal(a[k], b[k]) for k in a)
    checkpointer.clear()
    assert checkpointer.load() is None


def test_balanced_weights_are_those_of_scikit_learn_and_keep_their_sum():
    labels = torch.tensor([0] * 6 + [1] * 3 + [3])  # class 2 has no example
    soft = torch.nn.functional.one_hot(labels, 4).float()
    found = balanced(soft, torch.ones(10))
    expected = compute_sample_weight("balanced", labels.numpy())
    assert torch.allclose(found.double(), torch.from_numpy(expected))
    weights = torch.rand(10, generator=stream(0, "weights"))
    found = balanced(soft, weights)
    assert float(found.sum()) == pytest.approx(float(weights.sum()), rel=1e-5)
    shares = [float(found[labels == k].sum()) for k in (0, 1, 3)]
    assert shares == pytest.approx([float(weights.sum()) / 3] * 3, rel=1e-5)


def test_balanced_classes_train_as_weighted_samples_do():
    sup = supervision()
    soft = torch.nn.functional.one_hot((torch.arange(N) < 4).long(), 2).float()
    sup = replace(sup, targets=WeakBatch(soft=soft))
    weighted = replace(sup, weights=balanced(soft, sup.weights))
    assert same(trained(head(), sup, class_weights="balanced"), trained(head(), weighted))
    assert not same(trained(head(), sup), trained(head(), weighted), 1e-4)


def test_without_shuffling_the_order_is_that_of_the_data_in_every_epoch():
    seen: list[torch.Tensor] = []

    class Spy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = head()

        def forward(self, values, mask):
            seen.append(values[:, 0])
            return self.inner(values, mask)

    config = stepped(epochs=2, batch_size=8, learning_rate=0.05, shuffle=False)
    train(Spy(), inputs(), supervision(), CrossEntropy(), config, seed=0)
    everything = inputs().batch(torch.arange(N))[0][:, 0]
    assert torch.equal(torch.cat(seen), torch.cat([everything, everything]))


def test_without_clipping_a_step_follows_the_whole_gradient():
    clipped = trained(head(), supervision(), max_grad_norm=1e-3)
    assert same(trained(head(), supervision(), max_grad_norm=None), trained(head(), supervision(), max_grad_norm=1e9))
    assert not same(clipped, trained(head(), supervision(), max_grad_norm=None), 1e-6)
