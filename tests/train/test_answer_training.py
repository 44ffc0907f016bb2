"""Training on answer tokens: one normaliser for the whole data set, whatever the batches."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from ensemw2s.config import CacheConfig, ModelConfig
from ensemw2s.core.seeds import stream
from ensemw2s.data.encode import encode, encode_answers
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.errors import DataError
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import load_owned, owned_state
from ensemw2s.models.inputs import IdInputs, JoinedInputs
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.checkpoint import checkpoint_folder
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.records import AnswerTokens
from ensemw2s.storage.store import Store
from ensemw2s.train.answers import AnswerSupervision, answer_loss, train_answers
from ensemw2s.train.checkpoint import Checkpointer
from tiny_run import stepped
from watching import steps_told_to

CONFIG = ModelConfig(model="tiny", n_layers=4, adapter="top", top_layers=2)
N = 16


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(CONFIG)


@pytest.fixture(scope="module")
def answers(backbone) -> AnswerTokens:
    prompts = [f"What is {i} and {7 * i}?" for i in range(N)]
    ids = encode(backbone.tokenizer, prompts, max_length=64, names=prompts)
    texts = ["yes" * (1 + i % 3) for i in range(N)]
    return encode_answers(backbone.tokenizer, ids, texts, max_length=64, names=prompts)


@pytest.fixture(scope="module")
def inputs(backbone, answers, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    return open_activations(backbone, answers.read, config=CONFIG, cache=CacheConfig(shard_rows=5), store=store)


def model(backbone, seed=0, config=CONFIG, noise=0.3) -> AnswerModel:
    return AnswerModel(backbone, backbone.unembedding, config, init_noise=noise, generator=stream(seed, "init"))


def gradients(module, inputs, supervision, batches, scale=1.0) -> torch.Tensor:
    module.zero_grad()
    for rows in batches:
        (scale * answer_loss(module, inputs, supervision, rows)).backward()
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def test_answer_tokens_are_those_after_the_prompt(answers, backbone):
    assert answers.offsets.tolist() == [0, *torch.tensor([3 * (1 + i % 3) + 2 for i in range(N)]).cumsum(0).tolist()]
    for row in (0, 5):
        tokens = answers.targets[answers.tokens_of(torch.tensor([row]))].tolist()
        assert backbone.tokenizer.decode(tokens) == " " + "yes" * (1 + row % 3) + "<eos>"
        assert list(answers.ids[row][answers.prompt_lengths[row] :]) == tokens
    assert len(answers.tokens_of(torch.tensor([2, 2]))) == 2 * len(answers.tokens_of(torch.tensor([2])))


def test_an_answer_without_tokens_or_too_long_is_refused(backbone):
    with pytest.raises(DataError, match=r"'a': prompt and answer have 23 tokens, more than max_length \(20\)"):
        encode_answers(backbone.tokenizer, [[5] * 10], ["x" * 11], max_length=20, names=["a"])


def test_unit_weights_on_the_whole_set_are_the_librarys_own_loss(backbone, answers, inputs):
    library = AutoModelForCausalLM.from_pretrained(checkpoint_folder(CONFIG))
    longest = max(map(len, answers.ids))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in answers.ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in answers.ids])
    labels = torch.where(mask.bool(), ids, -100)
    for i, length in enumerate(answers.prompt_lengths):
        labels[i, :length] = -100
    expected = library(input_ids=ids, attention_mask=mask, labels=labels).loss
    ones = AnswerSupervision(answers, torch.arange(N), torch.ones(len(answers.targets)))
    ours = answer_loss(model(backbone, noise=0.0), inputs, ones, torch.arange(N)) / len(answers.targets)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("adapter", ["top", "lora"])
def test_batches_micro_batches_and_shards_add_up_to_one_gradient(answers, inputs, adapter):
    backbone = load_backbone(CONFIG)  # its own: LoRA shares the frozen weights, which are made double here
    config = CONFIG.model_copy(update={"adapter": adapter, "lora_layers": 2})
    weights = torch.rand(len(answers.targets), generator=stream(0, "weights"))
    supervision = AnswerSupervision(answers, torch.arange(N), weights)
    module = model(backbone, config=config).double()
    backbone.unembedding.double()
    whole = gradients(module, inputs, supervision, [torch.arange(N)])
    assert float(whole.norm()) > 1e-3
    shuffled = torch.randperm(N, generator=stream(0, "order"))
    for batches in (torch.arange(N).split(1), shuffled.split(8), [shuffled[:5], shuffled[5:]]):
        assert torch.allclose(gradients(module, inputs, supervision, batches), whole, atol=1e-9)


def test_eight_accumulated_batches_of_one_equal_one_of_eight(backbone, answers, inputs):
    weights = torch.rand(len(answers.targets), generator=stream(0, "weights"))
    supervision = AnswerSupervision(answers, torch.arange(N), weights)
    states = []
    for micro in (None, 1, 3):
        config = stepped(epochs=2, batch_size=8, learning_rate=1e-3, micro_batch_size=micro)
        module = model(backbone)
        train_answers(module, inputs, supervision, config, seed=0)
        states.append(owned_state(module))
    for other in states[1:]:
        assert all(torch.allclose(states[0][n], other[n], atol=2e-5) for n in other)
    start = owned_state(model(backbone))
    assert not all(torch.allclose(states[0][n], start[n], atol=1e-4) for n in start)


def test_a_zero_weight_masks_the_token_and_a_double_one_counts_it_twice(backbone, answers, inputs):
    module = model(backbone)
    rows = torch.arange(N)
    weights = torch.ones(len(answers.targets))
    weights[3], weights[7] = 0.0, 2.0
    gold = score_answers([module], inputs, answers, rows).gold[0]
    expected = -(gold.sum() - gold[3] + gold[7])
    found = answer_loss(module, inputs, AnswerSupervision(answers, rows, weights), rows)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    masked = AnswerSupervision(
        AnswerTokens((answers.ids[0],), (answers.prompt_lengths[0] + 1,)), torch.tensor([0]), torch.ones(100)
    )
    weights = torch.ones(len(answers.targets))
    weights[0] = 0.0
    one = answer_loss(module, inputs, AnswerSupervision(answers, rows, weights), rows[:1])
    assert answer_loss(module, inputs, masked, rows[:1]).item() == pytest.approx(one.item(), rel=1e-6)


def test_a_training_resumed_from_its_checkpoint_ends_the_same(backbone, answers, inputs, tmp_path):
    supervision = AnswerSupervision(answers, torch.arange(N), torch.ones(len(answers.targets)))
    config = stepped(epochs=3, batch_size=4, learning_rate=1e-3, checkpoint_steps=5)
    plain = model(backbone)
    train_answers(plain, inputs, supervision, config, seed=1)

    class Stopped(Exception):
        pass

    def stop(done: int) -> None:
        if done == 8:
            raise Stopped

    keeper = Checkpointer(Store(tmp_path), "ab" * 32)
    with pytest.raises(Stopped), steps_told_to(stop):
        train_answers(model(backbone), inputs, supervision, config, seed=1, checkpointer=keeper)
    resumed = model(backbone, seed=9)
    train_answers(resumed, inputs, supervision, config, seed=1, checkpointer=keeper)
    assert all(
        torch.equal(a, b) for a, b in zip(owned_state(plain).values(), owned_state(resumed).values(), strict=True)
    )


def test_scores_of_every_size_come_from_one_evaluation_and_equal_those_without_a_cache(backbone, answers, inputs):
    models = [model(backbone, seed).eval() for seed in range(3)]
    weights = torch.tensor([0.5, 2.0, 1.0])
    rows = torch.tensor([4, 0, 9, 9])
    found = score_answers(models, inputs, answers, rows, weights=weights)
    for t in range(3):
        together = SharedTrunk(backbone, models[: t + 1])
        anew = score_answers(together, IdInputs(answers.read, backbone.pad_id), answers, rows, weights=weights[: t + 1])
        assert torch.allclose(found.gold[: t + 1], anew.gold, atol=1e-5)
        assert torch.equal(found.wrong[: t + 1], anew.wrong)
        alone = score_answers([models[t]], inputs, answers, rows)
        assert torch.allclose(found.member_gold[t], alone.gold[0], atol=1e-5)
        assert torch.equal(found.member_wrong[t], alone.wrong[0])
    assert found.exact(torch.zeros(len(found.gold[0]), dtype=torch.bool)).all()


def test_joined_sets_read_as_one(inputs):
    both = JoinedInputs((inputs, inputs))
    rows = torch.tensor([N + 3, 1, N + 9, 1])
    values, mask = both.batch(rows)
    plain, plain_mask = inputs.batch(rows % N)
    assert torch.equal(values, plain)
    assert torch.equal(mask, plain_mask)
    assert both.lengths.tolist() == inputs.lengths.tolist() * 2


def test_noise_is_in_units_of_the_weights_and_a_state_brings_all_of_it_back(backbone, answers, inputs):
    plain, noisy = model(backbone, noise=0.0), model(backbone, noise=0.2)
    pairs = [(a, b) for a, b in zip(plain.parameters(), noisy.parameters(), strict=True) if a.ndim == 2]
    for a, b in pairs:
        assert ((b - a).std() / a.std()).item() == pytest.approx(0.2, rel=0.2)
    other = model(backbone, seed=5, noise=0.0)
    load_owned(other, owned_state(noisy))
    rows = torch.arange(N)
    assert torch.equal(
        score_answers([other], inputs, answers, rows).gold, score_answers([noisy], inputs, answers, rows).gold
    )
