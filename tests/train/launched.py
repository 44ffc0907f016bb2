"""Helper of test_launch.py: trains small models, alone or as one of the processes of a launch."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from ensemw2s.config import ModelConfig, TrainConfig
from ensemw2s.core.losses import LogConf, WeakBatch
from ensemw2s.core.preferences.losses import Dpo
from ensemw2s.core.seeds import stream
from ensemw2s.distributed import launch
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.models.activations import IdInputs
from ensemw2s.models.adapting.adapters import build_adapter, owned_state
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.records import AnswerTokens
from ensemw2s.storage.store import Store
from ensemw2s.train.answers import AnswerSupervision, AnswerValidation, train_answers
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.train.loop import predict, train
from ensemw2s.train.pairs import PairSupervision, train_pairs
from ensemw2s.train.samples import Supervision, Validation
from watching import steps_told_to

LENGTHS = tuple(5 + 3 * i % 17 for i in range(17))  # 17 rows in batches of 4: the last one has a single row
TRAINING = TrainConfig(
    solver="adamw",
    epochs=2,
    patience=None,
    schedule="cosine",
    batch_size=4,
    learning_rate=0.01,
    checkpoint_steps=3,
    micro_batch_size=1,
)


PATIENT = TRAINING.model_copy(
    update={"epochs": 12, "patience": 1, "min_steps": 4, "schedule": "constant", "checkpoint_steps": 5}
)


class Stopped(Exception):
    pass


def _second_lessons(answers: AnswerTokens, training: TrainConfig) -> dict[str, torch.Tensor]:
    """A lesson that is kept, and one that is not: nine pairs in batches of four, so one process has none at last."""
    config = ModelConfig(model="tiny", n_layers=2, adapter="full")
    backbone = load_backbone(config)
    pairs = AnswerTokens(answers.ids + answers.ids[:1], answers.prompt_lengths + answers.prompt_lengths[:1])
    inputs, out = IdInputs(pairs.read, backbone.pad_id), {}
    for name, judge in (("kept", None), ("dropped", lambda module: 0.5)):
        module = AnswerModel(backbone, backbone.unembedding, config, generator=stream(0, "init"))
        end, lesson = train_pairs(module, inputs, PairSupervision.certain(pairs), Dpo(), training, seed=0, judge=judge)
        assert lesson.is_kept == (name == "kept")
        out[f"{name}/end"] = torch.tensor([end.steps, end.training_loss, lesson.chosen_before, lesson.chosen_after])
        out |= {f"{name}/{n}": tensor for n, tensor in owned_state(module).items()}
    return out


def train_all(output: Path, store_root: Path, n_steps: int | None = None, training: TrainConfig = TRAINING) -> None:
    """Write to `output` what came out of the trainings, their ends included; `patience` ends them by five rows.

    With `n_steps` they stop there, as if the machine had failed, and leave their checkpoints in the store.
    """
    launch.start()
    store, out = Store(store_root), {}

    def stop(done: int) -> None:
        if done == n_steps:
            raise Stopped

    draw = stream(0, "ids")
    ids = tuple(tuple(torch.randint(3, 60, (n,), generator=draw).tolist()) for n in LENGTHS)
    answers = AnswerTokens(ids, tuple(n - 3 for n in LENGTHS))
    weights = torch.rand(len(answers.targets), generator=draw)
    soft = torch.rand(len(ids), 2, generator=draw).softmax(-1)
    rows, held = torch.arange(len(ids)), torch.arange(12, 17)
    learned = rows if training.patience is None else rows[:12]
    for adapter in ("lora", "full"):
        config = ModelConfig(model="tiny", n_layers=4, adapter=adapter)  # pyright: ignore[reportArgumentType]
        backbone = load_backbone(config)
        inputs = IdInputs(answers.read, backbone.pad_id)
        if adapter == "full":
            module = AnswerModel(backbone, backbone.unembedding, config, generator=stream(0, "init"))
            lesson, kept = AnswerSupervision(answers, learned, weights), Checkpointer(store, "words")
            try:
                known = AnswerValidation(inputs, answers, held)
                options = {"validation": known, "checkpointer": kept}
                with steps_told_to(stop):
                    end = train_answers(module, inputs, lesson, training, seed=0, **options)
            except Stopped:
                continue
            out["words/gold"] = score_answers([module], inputs, answers, rows).gold[0]
        else:
            module = build_adapter(config, backbone, 2, dropout=0.0, init_std=0.02, generator=stream(0, "init"))
            lesson = Supervision(learned, WeakBatch(soft=soft[learned]), torch.ones(len(learned)))
            kept, known = Checkpointer(store, "classes"), Validation(held, soft[held].argmax(-1))
            loss = LogConf(aux_coef=0.6, warmup_frac=0.5)  # its statistics are of the whole batch
            try:
                options = {"validation": known, "checkpointer": kept}
                with steps_told_to(stop):
                    end = train(module, inputs, lesson, loss, training, seed=0, **options)
            except Stopped:
                continue
            out["classes/gold"] = predict(module, inputs, rows)
        out[f"{adapter}/end"] = torch.tensor([end.steps, end.kept_epoch or 0, end.training_loss])
        out |= {f"{adapter}/{name}": tensor for name, tensor in owned_state(module).items()}
    if n_steps is None and training.patience is None:
        out |= _second_lessons(answers, training)
    if launch.rank() == 0:
        save_file(out, output)
