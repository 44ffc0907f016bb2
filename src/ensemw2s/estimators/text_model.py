"""A pretrained model that reads texts, and a learner that trains an adapter on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import CacheConfig, ModelConfig, TrainConfig
from ensemw2s.core.losses import SOFTMAX, CrossEntropy, WeakBatch, WeakToStrongLoss
from ensemw2s.data.encode import encode
from ensemw2s.ensemble.learners.trunk import TrunkLearner
from ensemw2s.errors import ConfigError
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import SCALE_ROWS, Adapter, build_adapter, owned_state
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.trunk import pooled_features
from ensemw2s.records import WHOLE, Inputs, View
from ensemw2s.train.loop import predict
from ensemw2s.train.optimum import has_optimum
from ensemw2s.train.samples import Supervision
from ensemw2s.training_end import TrainingEnd


class _Memory:
    """A store that keeps nothing: tensors stay with whoever made them."""

    def get(self, kind: str, key: str) -> dict[str, Tensor] | None:
        return None

    def put(self, kind: str, key: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors

    def replace(self, kind: str, key: str, tensors: dict[str, Tensor]) -> None:
        return None

    def discard(self, kind: str, key: str) -> None:
        return None


class TextModel:
    """A frozen model, and what its adapter reads of the texts that were opened last.

    Args:
        config: its name, its cut and its adapter.

    Raises:
        ConfigError: it reads no text.
        ModelError: as `load_backbone`.
    """

    def __init__(self, config: ModelConfig):
        if config.is_features:
            raise ConfigError(
                f"{config.model}: estimators learn from texts; give them vectors with a classifier of scikit-learn, or "
                "use a configuration (ensemw2s run)"
            )
        self.config = config
        self.backbone = load_backbone(config)
        self._opened: dict[int, tuple[dict[str, int], Inputs]] = {}

    @property
    def n_layers(self) -> int:
        return self.backbone.n_layers

    def open(self, texts: Sequence[str], depth: int | None = None) -> tuple[Inputs, Int[Tensor, " texts"]]:
        """What the adapter reads, and the row in it of each text. One pass of the frozen model reads each text once.

        Args:
            depth: number of layers that are used; None is all.

        Raises:
            DataError: a text has no token, or more than the model reads.
        """
        depth = depth or self.n_layers
        if depth not in self._opened or not self._opened[depth][0].keys() >= set(texts):
            self._opened[depth] = self._read(list(dict.fromkeys(texts)), depth)
        place, inputs = self._opened[depth]
        return inputs, torch.tensor([place[text] for text in texts], dtype=torch.long)

    def features(self, texts: Sequence[str]) -> Float[Tensor, "texts dim"]:
        """The frozen model's pooled feature of each text.

        Raises:
            DataError: as `open`.
        """
        if self.config.adapter == "head":
            inputs, rows = self.open(texts)
            return inputs.batch(rows)[0][:, 0]
        batch_tokens, depth = CacheConfig().batch_tokens, self.n_layers
        return pooled_features(self.backbone, self._ids(texts), [depth], batch_tokens=batch_tokens)[depth].float()

    def _read(self, texts: list[str], depth: int) -> tuple[dict[str, int], Inputs]:
        config = self.config.model_copy(update={"n_layers": depth})
        ids, cut = self._ids(texts), self.backbone.cut(depth)
        inputs = open_activations(cut, ids, config=config, cache=CacheConfig(), store=_Memory())
        return {text: row for row, text in enumerate(texts)}, inputs

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return encode(
            self.backbone.tokenizer,
            texts,
            max_length=self.config.max_length,
            positions=self.backbone.positions,
            names=[text[:60] for text in texts],
            chat=self.config.chat,
        )

    def build(self, n_classes: int, training: TrainConfig, generator: torch.Generator) -> Adapter:
        """An untrained adapter; its initial weights come from the generator."""
        return build_adapter(
            self.config,
            self.backbone,
            n_classes,
            dropout=training.dropout,
            init_std=training.init_std,
            generator=generator,
        )


@dataclass(frozen=True)
class TextFitted:
    """A trained adapter that reads texts."""

    model: TextModel
    module: Adapter
    depth: int | None = None
    link: str = SOFTMAX
    """How its logits become log-probabilities: that of the loss by which it was trained."""
    end: TrainingEnd | None = None
    """How its training ended."""

    def log_probs(self, X: Sequence[str]) -> Float[Tensor, "texts classes"]:
        inputs, rows = self.model.open(X, self.depth)
        return predict(self.module, inputs, rows, link=self.link)

    def state(self) -> dict[str, Tensor]:
        return owned_state(self.module)


@dataclass(frozen=True)
class TextLearner:
    """Trains an adapter on texts."""

    model: TextModel
    training: TrainConfig
    view: View = WHOLE
    view_seed: int = 0
    scale_texts: Sequence[str] | None = None
    """Texts that the head's feature scale is measured on; None: those that it is trained on."""

    def adapted(self, X: Sequence[str], view: View, seed: int) -> "TextLearner":
        if view.context is not None:
            raise ConfigError(
                "method: members that read a context before each question are made of a run's own examples; choose "
                "another method, or give it to a run (ensemble.methods)"
            )
        return replace(self, view=view, view_seed=seed, scale_texts=X)

    def fit(
        self,
        X: Sequence[str],
        target: Float[Tensor, "texts classes"],
        sample_weight: Float[Tensor, " texts"],
        *,
        seed: int,
    ) -> TextFitted:
        supervision = Supervision(torch.arange(len(X)), WeakBatch(soft=target), sample_weight)
        return self.fit_supervision(X, supervision, CrossEntropy(), seed=seed)

    def fit_supervision(
        self, X: Sequence[str], supervision: Supervision, loss: WeakToStrongLoss, *, seed: int
    ) -> TextFitted:
        """As `StudentLearner.fit_supervision`."""
        n_classes = supervision.targets.soft.shape[1]
        training = self.training.resolved(self.model.config, has_optimum=has_optimum(loss, supervision))
        scale = list(self.scale_texts or ())[:SCALE_ROWS]
        inputs, rows = self.model.open([*X, *scale], self.view.depth)
        learner = TrunkLearner(
            inputs,
            lambda generator: self.model.build(n_classes, training, generator),
            training,
            feature_share=self.view.feature_share,
            feature_seed=self.view_seed,
            scale_rows=rows[len(X) :] if scale else None,
        )
        fitted = learner.fit_supervision(rows[: len(X)], supervision, loss, seed=seed)
        return TextFitted(self.model, fitted.module, self.view.depth, fitted.link, fitted.end)


def are_texts(X: Any) -> bool:
    """Whether X is a sequence of strings: a list, a tuple, an array of one dimension, or a column of a data frame."""
    if hasattr(X, "shape"):
        return len(X.shape) == 1 and X.shape[0] > 0 and isinstance(np.asarray(X)[0], str)
    return isinstance(X, list | tuple) and len(X) > 0 and isinstance(X[0], str)


def checked_texts(X: Any) -> list[str]:
    """X as a list of texts.

    Raises:
        ValueError: it is no sequence of texts, has none, or one of them is no text or blank.
    """
    if isinstance(X, str) or not hasattr(X, "__len__"):
        raise ValueError(f"X must be a sequence of texts, got {type(X).__name__}; give a list of strings")
    if len(X) == 0:
        raise ValueError("X has no text; give at least one")
    texts = list(X)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"X[{i}] is {text!r}, not a text; give a list of strings")
        if not text.strip():
            raise ValueError(f"X[{i}] is blank; give it a text, or drop it")
    return [str(text) for text in texts]
