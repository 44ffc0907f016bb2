"""What frozen embeddings save in `adapter: full`: seconds per optimiser step of SmolLM2's first 4 layers.

    OMP_NUM_THREADS=1 python benchmarks/embeddings.py

Batches of 16 rows, float32: classes with 64 and with 16 tokens a row, and generation of 4 answer tokens after 12. With
and without the embeddings in turn; the median of five runs of four steps each. Beside it the trained weights.
"""

import statistics
from collections.abc import Callable

import torch

from ensemw2s.config import ModelConfig, TrainConfig
from ensemw2s.core.losses import CrossEntropy
from ensemw2s.core.seeds import stream
from ensemw2s.models.adapting.adapters import build_adapter, n_trainable
from ensemw2s.models.inputs import IdInputs
from ensemw2s.models.language import AnswerModel, vocabulary_head
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.records import AnswerTokens
from ensemw2s.train.answers import AnswerSupervision, train_answers
from ensemw2s.train.loop import train
from ensemw2s.train.supervision import true_labels
from side_by_side import seconds

LAYERS, BATCH, STEPS, RUNS, ANSWER = 4, 16, 4, 5, 4
TRAINING = TrainConfig(solver="adamw", epochs=1, patience=None, batch_size=BATCH, learning_rate=1e-5)

Work = tuple[int, Callable[[], None]]
"""Number of trained weights, and some optimiser steps."""


def tokens(length: int) -> tuple[tuple[int, ...], ...]:
    drawn = torch.randint(1000, 2000, (BATCH * STEPS, length), generator=stream(0, "ids"))
    return tuple(map(tuple, drawn.tolist()))


def classes(backbone: Backbone, config: ModelConfig, length: int) -> Work:
    inputs = IdInputs(tokens(length), backbone.pad_id)
    rows = torch.arange(BATCH * STEPS)
    samples = true_labels(rows, rows % 2, 2)
    module = build_adapter(config, backbone, 2, dropout=0.0, init_std=0.02, generator=stream(0, "init"))
    return n_trainable(module), lambda: train(module, inputs, samples, CrossEntropy(), TRAINING, seed=0)


def generation(backbone: Backbone, config: ModelConfig, length: int) -> Work:
    answers = AnswerTokens(tokens(length), (length - ANSWER,) * (BATCH * STEPS))
    inputs = IdInputs(answers.read, backbone.pad_id)
    samples = AnswerSupervision(answers, torch.arange(BATCH * STEPS), torch.ones(len(answers.targets)))
    module = AnswerModel(backbone, vocabulary_head(backbone), config, generator=stream(0, "init"))
    return n_trainable(module), lambda: train_answers(module, inputs, samples, TRAINING, seed=0)


if __name__ == "__main__":
    backbone = load_backbone(ModelConfig(n_layers=LAYERS, dtype="float32"))
    print(f"{backbone.name}, {LAYERS} layers, {torch.get_num_threads()} threads")
    for make, length in ((classes, 64), (classes, 16), (generation, 16)):
        configs = {trains: ModelConfig(adapter="full", train_embeddings=trains) for trains in (True, False)}
        works = {trains: make(backbone, config, length) for trains, config in configs.items()}
        for _, work in works.values():
            work()
        spent = {trains: [] for trains in works}
        for _ in range(RUNS):
            for trains, (_, work) in works.items():
                spent[trains].append(seconds(work) / STEPS)
        for trains, (n_trained, _) in works.items():
            runs = ", ".join(f"{s:.2f}" for s in spent[trains])
            what = f"{make.__name__}, {length} tokens, train_embeddings: {trains}"
            print(f"{what}: {n_trained / 1e6:.1f}M, {statistics.median(spent[trains]):.2f} s a step ({runs})")
