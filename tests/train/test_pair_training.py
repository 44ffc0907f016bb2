"""Learning from pairs: the gradient of dense logits without them, whatever the micro-batches and interruptions."""

from math import log

import pytest
import torch
from test_answer_training import CONFIG, model

from ensemw2s.config import CacheConfig
from ensemw2s.core.preferences import PairBatch, expected_loss
from ensemw2s.core.preferences.losses import Dpo, Ipo, OnlyChosen, Orpo
from ensemw2s.data.encode import encode, encode_answers
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import load_owned, owned_state
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.records import AnswerTokens
from ensemw2s.storage.store import Store
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.train.pairs import PairSupervision, add_gradient, answer_log_probs, train_pairs
from tiny_run import stepped
from watching import steps_told_to

N = 8
EVERYTHING = torch.arange(2 * N)
LOSSES = [Dpo(anchor=0.3), Ipo(), Orpo(), OnlyChosen()]


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(CONFIG)


@pytest.fixture(scope="module")
def answers(backbone) -> AnswerTokens:
    """A better and a worse answer to each question in turn; some begin alike."""
    prompts = [f"Is {i} above 3?" for i in range(N) for _ in range(2)]
    ids = encode(backbone.tokenizer, prompts, max_length=64, names=prompts)
    texts = [text for i in range(N) for text in (("yes", "no") if i % 2 else ("no it", "no, yes"))]
    return encode_answers(backbone.tokenizer, ids, texts, max_length=64, names=prompts)


@pytest.fixture(scope="module")
def inputs(backbone, answers, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    return open_activations(backbone, answers.read, config=CONFIG, cache=CacheConfig(shard_rows=5), store=store)


def gradient(module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def trained(backbone, inputs, answers, loss, *, judge=None, keeper=None, **settings):
    module = model(backbone)
    config = stepped(**({"epochs": 3, "batch_size": 4, "learning_rate": 1e-3} | settings))
    pairs = PairSupervision.certain(answers)
    end, lesson = train_pairs(module, inputs, pairs, loss, config, seed=1, judge=judge, checkpointer=keeper)
    return owned_state(module), end, lesson


@pytest.mark.parametrize("is_certain", [True, False], ids=["certain", "denoised"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_the_gradient_is_that_of_dense_logits(loss, is_certain, answers, inputs):
    backbone = load_backbone(CONFIG)  # its own, made double here
    module, head = model(backbone).double(), backbone.unembedding.double()
    reference = answer_log_probs(model(load_backbone(CONFIG), noise=0.0), inputs, answers, EVERYTHING)
    pairs = PairSupervision.certain(answers)
    if not is_certain:
        pairs = PairSupervision(answers, torch.linspace(0.1, 1.0, N).double(), torch.linspace(0.0, 2.0, N).double())
    values = add_gradient(module, inputs, pairs, loss, reference, torch.arange(N))
    ours = gradient(module)
    module.zero_grad()
    states, mask = inputs.batch(EVERYTHING)
    log_probs = head(module.hidden(states.double(), mask).flatten(0, 1)).log_softmax(-1).unflatten(0, mask.shape)
    sums = []
    for row, (ids, start) in enumerate(zip(answers.ids, answers.prompt_lengths, strict=True)):
        tokens = torch.tensor(ids[start:])
        sums.append(log_probs[row, start - 1 : len(ids) - 1].gather(-1, tokens[:, None]).sum())
    c, r = torch.stack(sums)[::2], torch.stack(sums)[1::2]
    sizes = answers.offsets.diff()
    batch = PairBatch(c, r, sizes[::2], sizes[1::2], reference[::2], reference[1::2], pairs.probability, pairs.margin)
    dense = expected_loss(loss, batch)
    dense.sum().backward()
    assert torch.allclose(values, dense.detach(), atol=1e-9)
    assert float(ours.norm()) > 1e-3
    assert torch.allclose(ours, gradient(module), atol=1e-8)


def test_the_loss_is_log_2_before_the_first_step(backbone, answers, inputs):
    module = model(backbone)
    reference = answer_log_probs(module, inputs, answers, EVERYTHING)
    values = add_gradient(module.train(), inputs, PairSupervision.certain(answers), Dpo(), reference, torch.arange(N))
    assert values.tolist() == pytest.approx([log(2)] * N, abs=1e-6)


def test_what_both_answers_begin_with_is_not_learned(backbone, answers, inputs):
    module = model(backbone)
    reference = answer_log_probs(module, inputs, answers, EVERYTHING)
    add_gradient(module, inputs, PairSupervision.certain(answers), Dpo(), reference, torch.arange(N))
    whole = gradient(module)
    module.zero_grad()
    lengths = list(answers.prompt_lengths)
    for i in range(0, N, 2):  # " no" is in both
        assert answers.ids[2 * i][: lengths[2 * i] + 3] == answers.ids[2 * i + 1][: lengths[2 * i] + 3]
        lengths[2 * i] = lengths[2 * i + 1] = lengths[2 * i] + 3
    short = AnswerTokens(answers.ids, tuple(lengths))
    reference = answer_log_probs(module, inputs, short, EVERYTHING)
    add_gradient(module, inputs, PairSupervision.certain(short), Dpo(), reference, torch.arange(N))
    assert torch.allclose(gradient(module), whole, atol=1e-6)


def test_eight_micro_batches_of_one_are_one_of_eight(backbone, answers, inputs):
    states = [
        trained(backbone, inputs, answers, Dpo(), batch_size=8, micro_batch_size=micro)[0] for micro in (None, 1, 3)
    ]
    for other in states[1:]:
        assert all(torch.allclose(states[0][n], other[n], atol=2e-5) for n in other)
    start = owned_state(model(backbone))
    assert not all(torch.allclose(states[0][n], start[n], atol=1e-4) for n in start)


def test_an_interrupted_lesson_goes_on_and_ends_the_same(backbone, answers, inputs, tmp_path):
    keeper = Checkpointer(Store(tmp_path), "key")
    plain = trained(backbone, inputs, answers, Ipo(), checkpoint_steps=2)

    class Stopped(Exception):
        pass

    def stop(step):
        if step == 5:
            raise Stopped

    with pytest.raises(Stopped), steps_told_to(stop):
        trained(backbone, inputs, answers, Ipo(), checkpoint_steps=2, keeper=keeper)
    resumed = trained(backbone, inputs, answers, Ipo(), checkpoint_steps=2, keeper=keeper)
    assert all(torch.equal(plain[0][n], resumed[0][n]) for n in plain[0])
    assert plain[1:] == resumed[1:]


def test_the_better_answers_gain_on_the_reference_and_a_larger_beta_is_sooner_content(backbone, answers, inputs):
    module = model(backbone)
    before = answer_log_probs(module, inputs, answers, EVERYTHING)
    gains = []
    for beta in (0.1, 2.0):
        state, end, lesson = trained(backbone, inputs, answers, Dpo(beta=beta), epochs=30, learning_rate=3e-4)
        assert end.steps == 60
        assert end.training_loss < log(2)
        load_owned(module, state)
        gained = answer_log_probs(module, inputs, answers, EVERYTHING) - before
        assert bool((gained[::2] > gained[1::2]).all())
        gains.append(float((gained[::2] - gained[1::2]).mean()))
        after = float((before + gained)[::2].sum() / answers.offsets.diff()[::2].sum())
        assert lesson.chosen_after == pytest.approx(after, abs=1e-5)
    assert gains[1] < gains[0]


def test_the_student_from_before_stays_unless_the_one_after_is_better(backbone, answers, inputs):
    start = owned_state(model(backbone))
    for wrong, is_kept in (([0.5, 0.4], True), ([0.5, 0.5], False), ([0.4, 0.6], False)):
        asked = iter(wrong)
        state, end, lesson = trained(backbone, inputs, answers, Dpo(), judge=lambda module, asked=asked: next(asked))
        assert (lesson.is_kept, lesson.wrong_before, lesson.wrong_after) == (is_kept, *wrong)
        assert all(torch.equal(start[n], state[n]) for n in start) != is_kept
        assert (end.ended, end.steps) == ("all_epochs", 6)


def test_patience_ends_a_lesson_by_the_share_of_wrong_answers(backbone, answers, inputs):
    wrong = iter([0.5, 0.6, 0.3, 0.4, 0.3, 0.3])  # before, after each of four epochs, and of what was kept
    settings = {"patience": 2, "schedule": "constant", "epochs": 50, "min_steps": 1}
    _, end, lesson = trained(backbone, inputs, answers, Dpo(), judge=lambda module: next(wrong), **settings)
    assert (end.ended, end.epochs, end.kept_epoch, end.validation_loss) == ("stopped_early", 4, 2, 0.3)
    assert (lesson.is_kept, lesson.wrong_after) == (True, 0.3)
