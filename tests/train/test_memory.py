"""What saves memory changes no result: micro-batches found by trying, layers computed twice, logits in parts."""

import pytest
import torch
from torch import nn

from ensemw2s.config import CacheConfig, ModelConfig
from ensemw2s.core.losses import CrossEntropy, LogConf, WeakBatch
from ensemw2s.core.seeds import stream
from ensemw2s.errors import ModelError
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import build_adapter, owned_state
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.adapting.upper import layers_recomputed
from ensemw2s.models.inputs import IdInputs, PooledInputs
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.records import AnswerTokens
from ensemw2s.storage.store import Store
from ensemw2s.train import answers as answer_training
from ensemw2s.train.answers import AnswerSupervision, answer_loss
from ensemw2s.train.loop import train
from ensemw2s.train.samples import Supervision
from tiny_run import stepped

DIM, N = 6, 24


class Small(nn.Module):
    """A head on a machine where a batch of more than `room` asks the allocator for more than any machine has."""

    def __init__(self, room: int):
        super().__init__()
        self.head = Head(DIM, 2, 0, 0.0, 0.02, stream(0, "head"))
        self.room = room
        self.tried: list[int] = []

    def forward(self, values, mask):
        if not self.tried or self.tried[-1] != len(values):
            self.tried.append(len(values))
        if len(values) > self.room:
            torch.empty(2**60, dtype=torch.uint8)
        return self.head(values, mask)


INPUTS = PooledInputs(tuple(torch.randn(N, DIM, generator=stream(0, "values")).split(10)), torch.arange(N) % 7 + 3)
SOFT = torch.rand(N, 2, generator=stream(0, "soft")).softmax(-1)
SUPERVISION = Supervision(torch.arange(N), WeakBatch(soft=SOFT), torch.rand(N, generator=stream(0, "weights")))


def trained(module, micro, loss=None, **settings):
    config = stepped(epochs=3, batch_size=8, learning_rate=0.05, micro_batch_size=micro, **settings)
    train(module, INPUTS, SUPERVISION, loss or CrossEntropy(), config, seed=0)
    return owned_state(module)


@pytest.mark.parametrize("loss", [CrossEntropy(), LogConf(aux_coef=0.6, warmup_frac=0.5)], ids=["xent", "logconf"])
@pytest.mark.parametrize(("room", "tried"), [(8, [8]), (7, [8, 4]), (3, [8, 4, 2]), (1, [8, 4, 2, 1])])
def test_auto_halves_until_a_batch_fits_and_changes_no_result(room, tried, loss):
    module = Small(room)
    whole = trained(Small(8), None, loss)
    found = trained(module, "auto", loss)
    assert all(torch.allclose(whole[name], found[name], atol=1e-6, rtol=0) for name in whole)
    assert module.tried[: len(tried)] == tried
    assert set(module.tried[len(tried) :]) <= {tried[-1]}  # what was found stays


def test_the_size_is_found_on_the_longest_samples_before_the_first_step():
    seen = []

    class Listening(PooledInputs):
        def batch(self, rows):
            seen.append(rows)
            return super().batch(rows)

    config = stepped(epochs=1, batch_size=4, micro_batch_size="auto", learning_rate=0.05)
    inputs = Listening(INPUTS.shards, INPUTS.lengths)
    module, plain = Small(4), Small(4)
    train(module, inputs, SUPERVISION, CrossEntropy(), config, seed=0)
    assert INPUTS.lengths[seen[0]].tolist() == INPUTS.lengths.sort(descending=True)[0][:4].tolist()
    assert len(seen) == 1 + N // 4
    train(plain, INPUTS, SUPERVISION, CrossEntropy(), config.model_copy(update={"micro_batch_size": None}), seed=0)
    a, b = owned_state(module), owned_state(plain)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_memory_that_runs_out_in_mid_training_costs_that_batch_alone():
    class Shrinking(Small):
        def forward(self, values, mask):
            if len(self.tried) > 2:
                self.room = 4
            self.tried.append(0)
            return super().forward(values, mask)

    module = Shrinking(8)
    found, whole = trained(module, "auto"), trained(Small(8), None)
    assert {8, 4} <= set(module.tried)
    assert all(torch.allclose(whole[name], found[name], atol=1e-6, rtol=0) for name in whole)


def test_a_single_example_that_does_not_fit_is_a_model_error_with_the_mend():
    with pytest.raises(ModelError, match=r"not even one example fits into memory .*set gradient_checkpointing"):
        trained(Small(0), "auto")


def test_without_auto_and_for_other_errors_nothing_is_tried_again():
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        trained(Small(3), 4)

    class Broken(Small):
        def forward(self, values, mask):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        trained(Broken(8), "auto")


ADAPTERS = [{"adapter": "top", "top_layers": 2}, {"adapter": "lora"}, {"adapter": "lora", "lora_layers": 2}]
ADAPTERS.append({"adapter": "full"})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def text_module(store, settings, dropout=0.0, **model):
    config = ModelConfig(**({"model": "tiny", "dtype": "float32", "n_layers": 3} | settings | model))
    backbone = load_backbone(config)
    ids = backbone.tokenizer([f"Is {i} above {3 * i % 17}?" for i in range(N)])["input_ids"]
    cache = CacheConfig(trunk_cache="memory")
    inputs = open_activations(backbone, ids, config=config, cache=cache, store=store)
    module = build_adapter(config, backbone, 2, dropout=dropout, init_std=0.5, generator=stream(0, "init"))
    return module, inputs


def gradient(module, inputs, *, recomputed):
    module.train()
    module.zero_grad()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if recomputed:
            with layers_recomputed(module):
                loss = module(*inputs.batch(torch.arange(N))).logsumexp(-1).sum()
                loss.backward()
        else:
            module(*inputs.batch(torch.arange(N))).logsumexp(-1).sum().backward()
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize("settings", ADAPTERS, ids=["top", "lora", "lora on upper layers", "full"])
def test_gradients_of_recomputed_layers_are_the_same_dropout_and_all(settings, store):
    module, inputs = text_module(store, settings, dropout=0.2)
    plain = gradient(module, inputs, recomputed=False)
    again = gradient(module, inputs, recomputed=True)
    assert float(plain.norm()) > 1e-3
    torch.testing.assert_close(again, plain, rtol=0, atol=1e-6 * float(plain.abs().max()))
    assert torch.equal(gradient(module, inputs, recomputed=False), plain)  # nothing is left behind


def test_recomputed_layers_keep_less_for_the_backward_pass(store):
    module, inputs = text_module(store, {"adapter": "full"})

    def kept(recomputed: bool) -> int:
        sizes: list[int] = []
        values, mask = inputs.batch(torch.arange(N))
        module.train()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
            if recomputed:
                with layers_recomputed(module):
                    module(values, mask)
            else:
                module(values, mask)
        return sum(sizes)

    assert kept(True) < 0.25 * kept(False)


def test_training_with_gradient_checkpointing_ends_the_same(store):
    states = []
    for recomputed in (False, True):
        module, inputs = text_module(store, {"adapter": "lora"})
        config = stepped(epochs=1, batch_size=8, learning_rate=0.01, gradient_checkpointing=recomputed)
        train(module, inputs, SUPERVISION, CrossEntropy(), config, seed=0)
        states.append(owned_state(module))
    assert all(torch.allclose(states[0][n], states[1][n], atol=1e-6) for n in states[0])


@pytest.mark.parametrize("settings", [{"adapter": "lora"}, {"adapter": "full"}], ids=["lora", "full"])
def test_bfloat16_gradients_point_where_the_float32_ones_do(settings, store):
    exact = gradient(*text_module(store, settings), recomputed=False)
    module, inputs = text_module(store, settings, dtype="bfloat16")
    rough = gradient(module, inputs, recomputed=False)
    assert float(torch.nn.functional.cosine_similarity(exact, rough, dim=0)) > 0.99
    assert torch.equal(gradient(module, inputs, recomputed=True), rough)


@pytest.mark.parametrize("adapter", ["top", "full"])
def test_answers_are_learned_from_some_logits_at_a_time(adapter, monkeypatch, store):
    config = ModelConfig(model="tiny", dtype="float32", n_layers=2, adapter=adapter, top_layers=1)
    backbone = load_backbone(config)
    draw = torch.randint(2, 258, (12, 9), generator=stream(0, "ids")).tolist()
    answers = AnswerTokens(tuple(map(tuple, draw)), tuple(2 + i % 5 for i in range(12)))
    supervision = AnswerSupervision(answers, torch.arange(12), torch.rand(200, generator=stream(0, "weights")))
    if adapter == "full":
        inputs = IdInputs(answers.read, backbone.pad_id)
    else:
        cache = CacheConfig(trunk_cache="memory")
        inputs = open_activations(backbone, answers.read, config=config, cache=cache, store=store)
    module = AnswerModel(backbone, backbone.unembedding, config, generator=stream(0, "init"))
    found = {}
    for chunk in (3, 1000):
        monkeypatch.setattr(answer_training, "HEAD_TOKENS", chunk)
        module.zero_grad()
        loss = answer_loss(module, inputs, supervision, torch.arange(12))
        loss.backward()
        found[chunk] = torch.cat(
            [loss.detach()[None], *(p.grad.flatten() for p in module.parameters() if p.requires_grad)]
        )
    torch.testing.assert_close(found[3], found[1000], rtol=1e-5, atol=1e-6 * float(found[3].abs().max()))
