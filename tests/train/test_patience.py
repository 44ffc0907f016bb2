"""Trainings that end when validation data no longer improve, and what every training says of its end."""

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import one_hot

from ensemw2s.config import ModelConfig, TrainConfig
from ensemw2s.core.losses import CrossEntropy, WeakBatch
from ensemw2s.core.metrics import log_loss
from ensemw2s.core.pacing import Pace
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.errors import DataError
from ensemw2s.models.adapting.adapters import build_adapter, owned_state
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.inputs import IdInputs, PooledInputs
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.records import AnswerTokens
from ensemw2s.storage.store import Store
from ensemw2s.train.answers import AnswerSupervision, AnswerValidation, ended_by, train_answers
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.train.loop import predict, train
from ensemw2s.train.progress import Progress, stands_still
from ensemw2s.train.samples import Supervision, Validation, chosen_by, held_out
from tiny_run import stepped
from watching import steps_told_to

N, DIM, TRAINED = 160, 20, 40
PATIENT = TrainConfig(
    solver="adamw", epochs=60, patience=3, min_steps=10, warmup_frac=0.0, batch_size=8, learning_rate=0.05
)
VALIDATION_ROWS = torch.arange(TRAINED, N)


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def inputs():
    values = torch.randn(N, DIM, generator=stream(0, "patience"))
    return PooledInputs((values,), torch.arange(N) % 5 + 3)


@pytest.fixture(scope="module")
def labels(inputs):
    """Of the first feature, and a third of them wrong: with so few rows there is noise to be learned by heart."""
    values = inputs.batch(torch.arange(N))[0][:, 0, 0]
    wrong = torch.rand(N, generator=stream(0, "noise")) < 1 / 3
    return ((values > 0) ^ wrong).long()


@pytest.fixture(scope="module")
def validation(labels):
    return Validation(VALIDATION_ROWS, labels[VALIDATION_ROWS])


def supervision(labels, rows=None) -> Supervision:
    rows = torch.arange(TRAINED) if rows is None else rows
    return Supervision(rows, WeakBatch(soft=one_hot(labels[rows], 2).float()), torch.ones(len(rows)))


def fitted(inputs, sup, config, validation=None, **options):
    module = Head(DIM, 2, 0, 0.0, 0.02, stream(0, "head"))
    end = train(module, inputs, sup, CrossEntropy(), config, seed=0, validation=validation, **options)
    return module, end


def plain(config: TrainConfig, epochs: int) -> TrainConfig:
    return config.model_copy(update={"patience": None, "epochs": epochs})


def same(a, b) -> bool:
    a, b = owned_state(a), owned_state(b)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_training_that_learns_noise_stops_and_keeps_the_weights_of_its_best_epoch(inputs, labels, validation):
    sup = supervision(labels)
    module, end = fitted(inputs, sup, PATIENT, validation)
    losses = []
    for epochs in range(1, end.epochs + 1):
        each, _ = fitted(inputs, sup, plain(PATIENT, epochs))
        losses.append(log_loss(predict(each, inputs, validation.rows), validation.labels))
    best = losses.index(min(losses)) + 1
    assert end.kept_epoch == best
    assert same(module, fitted(inputs, sup, plain(PATIENT, best))[0])
    assert end.epochs == best + PATIENT.patience < PATIENT.epochs
    assert (end.ended, end.converged, end.steps) == ("stopped_early", True, 5 * end.epochs)
    assert end.validation_loss == losses[best - 1]
    assert end.validations == end.epochs
    assert min(losses) < losses[-1]


def test_no_training_ends_before_its_least_steps_and_the_bound_on_epochs_decides_nothing_else(
    inputs, labels, validation
):
    sup = supervision(labels)
    short, first = fitted(inputs, sup, PATIENT, validation)
    long, second = fitted(inputs, sup, PATIENT.model_copy(update={"min_steps": 201}), validation)
    assert second.steps == 205  # 41 epochs of 5 steps
    assert second.kept_epoch == first.kept_epoch
    assert same(short, long)
    paced = replace(sup, pace=Pace(torch.arange(float(TRAINED)), 0.25, 0.75))
    warm = PATIENT.model_copy(update={"warmup_frac": 0.5})
    found = [fitted(inputs, paced, warm.model_copy(update={"epochs": n}), validation) for n in (60, 90)]
    assert found[0][1] == found[1][1]
    assert same(found[0][0], found[1][0])


def test_all_epochs_without_a_stop_have_not_converged(inputs, labels, validation):
    config = PATIENT.model_copy(update={"epochs": 4, "min_steps": 1000})
    _, end = fitted(inputs, supervision(labels), config, validation)
    assert (end.ended, end.converged, end.epochs) == ("all_epochs", False, 4)


def test_without_patience_nothing_is_validated_and_the_best_weights_are_the_last(inputs, labels, validation):
    with_data, end = fitted(inputs, supervision(labels), plain(PATIENT, 5), validation)
    assert same(with_data, fitted(inputs, supervision(labels), plain(PATIENT, 5))[0])
    assert (end.validations, end.validation_loss, end.kept_epoch) == (0, None, None)


def test_the_figures_of_the_end_are_those_of_the_last_epoch(inputs, labels):
    """With a learning rate of almost nothing they are the figures of the untrained module."""
    config = PATIENT.model_copy(update={"patience": None, "epochs": 2, "learning_rate": 1e-12, "weight_decay": 0.0})
    module, end = fitted(inputs, supervision(labels), config)
    log_probs = predict(module, inputs, torch.arange(TRAINED))
    assert end.training_loss == pytest.approx(log_loss(log_probs, labels[:TRAINED]), rel=1e-5)
    right = (log_probs.argmax(-1) == labels[:TRAINED]).double().mean()
    assert end.training_accuracy == pytest.approx(float(right))


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_a_short_training_has_not_converged_and_a_long_one_has_whatever_the_schedule(inputs, labels, schedule):
    settings = {"patience": None, "schedule": schedule, "batch_size": TRAINED, "learning_rate": 0.02}
    ends = [
        fitted(inputs, supervision(labels), PATIENT.model_copy(update=settings | {"epochs": n}))[1] for n in (10, 2000)
    ]
    assert [end.converged for end in ends] == [False, True]
    assert {end.ended for end in ends} == {"all_epochs"}


def test_a_loss_stands_still_within_a_hundredth_or_a_thousandth_of_a_nat():
    assert stands_still(0.5, 0.496)
    assert not stands_still(0.5, 0.49)
    assert stands_still(2e-3, 1.2e-3)
    assert not stands_still(math.nan, 0.5)
    assert not stands_still(0.5, math.nan)


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"), [("constant", 9, 1), ("linear", 8, 4), ("linear", 2, None)]
)
def test_what_is_compared_is_an_epoch_at_the_full_rate_apart(schedule, epochs, expected):
    """Linear, of eight epochs in one step each: 1/8 + 2/8 + 3/8 + 4/8 is the first sum above 1."""
    config = stepped(epochs=epochs, schedule=schedule, warmup_frac=0.0)
    progress = Progress(Head(DIM, 2, 0, 0.0, 0.02, stream(0, "head")), config, epochs, None)
    over = [progress.is_over(torch.tensor([1.0, 1.0, 2.0])) for _ in range(epochs)]
    assert over == [False] * (epochs - 1) + [True]
    assert progress._full_epoch_back() == expected
    assert progress.end().converged == (expected is not None)
    assert progress.end().training_loss == 0.5


@pytest.mark.parametrize("changes", [{}, {"solver": "adamw"}, {"patience": 2}])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_rate_that_falls_towards_an_end_that_is_not_reached_is_refused(changes, schedule):
    with pytest.raises(ValidationError, match="set patience: null, or schedule: constant"):
        TrainConfig(schedule=schedule, **changes)
    TrainConfig(schedule=schedule, **changes | {"patience": None})
    TrainConfig(schedule=schedule, **changes | {"solver": "lbfgs"})  # a fit has neither


def test_keys_know_of_patience_and_its_data_only_where_they_are_used(validation):
    old = stepped()
    assert not {"patience", "min_steps"} & old.deciding.keys()
    assert old.model_copy(update={"min_steps": 7}).deciding == old.deciding
    assert {"patience", "min_steps"} <= PATIENT.deciding.keys()
    assert "adam_beta2" not in old.deciding
    assert stepped(adam_beta2=0.95).deciding == old.deciding | {"adam_beta2": 0.95}
    assert chosen_by(validation, old) is None
    assert chosen_by(validation, PATIENT) == [validation.rows.tolist(), validation.labels.tolist()]
    answers = AnswerTokens(((3, 4, 5), (3, 6, 5)), (1, 1))
    known = AnswerValidation(IdInputs(answers.read, 0), answers, torch.tensor([1]))
    assert ended_by(known, old) == {}
    assert ended_by(known, PATIENT) != ended_by(replace(known, rows=torch.tensor([0])), PATIENT)


def test_without_validation_data_a_fifth_of_the_rows_is_held_out_copies_together(inputs, labels):
    sup = supervision(labels, torch.arange(TRAINED).repeat(2))
    sup = replace(sup, weights=torch.rand(2 * TRAINED, generator=stream(0, "weights")))
    kept, held = held_out(sup, 0)
    assert not set(kept.rows.tolist()) & set(held.rows.tolist())
    assert len(held.rows) == 2 * TRAINED // 5
    assert torch.equal(held.labels, labels[held.rows])
    assert torch.equal(kept.targets.soft.argmax(-1), labels[kept.rows])
    module, end = fitted(inputs, sup, PATIENT)
    assert same(module, fitted(inputs, kept, PATIENT, held)[0])
    assert end.ended == "stopped_early"
    with pytest.raises(DataError, match="there is 1"):
        fitted(inputs, supervision(labels, torch.zeros(4, dtype=torch.long)), PATIENT)


def interrupted(store: Store, run, at: int):
    """The end of a training that is stopped after so many steps and then begun again."""

    def stop(done: int) -> None:
        if done == at:
            raise Stopped

    checkpointer = Checkpointer(store, "cd" * 32)
    with pytest.raises(Stopped), steps_told_to(stop):
        run(checkpointer=checkpointer)
    assert checkpointer.load() is not None
    found = run(checkpointer=checkpointer)
    checkpointer.clear()
    return found


@pytest.mark.parametrize("micro", [None, 3])
def test_a_resumed_training_stops_where_the_uninterrupted_one_does_with_its_best_weights(
    inputs, labels, validation, micro, tmp_path
):
    config = PATIENT.model_copy(update={"checkpoint_steps": 3, "micro_batch_size": micro})
    sup = replace(supervision(labels), pace=Pace(torch.arange(float(TRAINED)), 0.25, 0.75))

    def run(**options):
        return fitted(inputs, sup, config, validation, **options)

    whole, end = run()
    for at in (7, 10, 5 * end.kept_epoch + 4, end.steps - 1):
        module, found = interrupted(Store(tmp_path / str(at)), run, at)
        assert found == end
        assert same(module, whole)


@pytest.fixture(scope="module")
def words():
    """Answers that follow from the question, a third of the training answers but for their last token at random."""
    draw = stream(0, "words")
    prompts = torch.randint(3, 30, (36, 3), generator=draw)
    ids = tuple((*p, 31 + p[0] % 4, int(torch.randint(40, 60, (1,), generator=draw))) for p in prompts.tolist())
    answers = AnswerTokens(ids, (3,) * len(ids))
    config = ModelConfig(model="tiny", n_layers=2, adapter="full")
    backbone = load_backbone(config)
    inputs = IdInputs(answers.read, backbone.pad_id)
    sup = AnswerSupervision(answers, torch.arange(12), torch.ones(len(answers.targets)))

    def run(training: TrainConfig, **options):
        module = AnswerModel(backbone, backbone.unembedding, config, generator=stream(0, "init"))
        return module, train_answers(module, inputs, sup, training, seed=0, **options)

    return run, AnswerValidation(inputs, answers, torch.arange(12, 36))


WORDS = PATIENT.model_copy(
    update={"epochs": 40, "patience": 2, "batch_size": 4, "learning_rate": 0.01, "checkpoint_steps": 4}
)


@pytest.mark.parametrize("packing", [False, True])
def test_answers_stop_by_the_likelihood_of_true_answers_and_resume(words, packing, tmp_path):
    run, validation = words
    training = WORDS.model_copy(update={"packing": packing})
    module, end = run(training, validation=validation)
    gold = score_answers([module], validation.inputs, validation.answers, validation.rows).gold
    assert end.validation_loss == pytest.approx(-float(gold.double().mean()), rel=1e-4)
    assert (end.ended, end.training_accuracy) == ("stopped_early", None)
    assert end.kept_epoch == end.epochs - 2
    assert same(module, run(plain(training, end.kept_epoch))[0])
    again, found = interrupted(Store(tmp_path), lambda **kept: run(training, validation=validation, **kept), 8)
    assert found == end
    assert same(again, module)


def test_answers_without_validation_data_hold_rows_out(words):
    run, _ = words
    _, end = run(WORDS)
    assert end.validations == end.epochs
    assert end.steps == 3 * end.epochs  # 9 of 12 rows, of which each is asked once, in batches of 4


def test_a_training_with_dropout_stops_the_same_whatever_interrupts_it(tmp_path):
    config = ModelConfig(model="tiny", n_layers=2, adapter="lora", lora_rank=2)
    backbone = load_backbone(config)
    ids = backbone.tokenizer([f"Is {i} above {3 * i % 17}?" for i in range(36)])["input_ids"]
    data = IdInputs(tuple(map(tuple, ids)), backbone.pad_id)
    labels = torch.randint(0, 2, (36,), generator=stream(0, "labels"))
    training = WORDS.model_copy(update={"dropout": 0.2})
    validation = Validation(torch.arange(12, 36), labels[12:])

    def run(**options):
        module = build_adapter(config, backbone, 2, dropout=0.2, init_std=0.02, generator=stream(0, "init"))
        sup = supervision(labels, torch.arange(12))
        return module, train(module, data, sup, CrossEntropy(), training, seed=0, validation=validation, **options)

    whole, end = run()
    assert end.ended == "stopped_early"
    module, found = interrupted(Store(tmp_path), run, 8)
    assert found == end
    assert same(module, whole)
