"""Models of a run of classes that are cuts of one checkpoint: loaded once, and read in one pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

import torch
import transformers
from torch import Tensor

from ensemw2s.config import CacheConfig, ModelConfig, TrainConfig, canonical_hash
from ensemw2s.examples import Example
from ensemw2s.forms.classification.role import ClassRole, encoded, make_role, opened
from ensemw2s.forms.prepare import check_packing_of
from ensemw2s.meter import working
from ensemw2s.models.activations import KIND, pooled_for_depths
from ensemw2s.models.inputs import PooledInputs
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.pooled import PooledTrunk, Trunk, open_pooled
from ensemw2s.models.probes.classifier import check_classifier
from ensemw2s.pictures import by_content
from ensemw2s.records import Inputs, TensorStore

POOLED_VERSION = 1


@dataclass(frozen=True)
class Reading:
    """Where what is read is kept, and who hears how much of it is done."""

    cache: CacheConfig
    store: TensorStore
    on_tokens: Callable[[str, int], None]
    """Told of a model's name and how many tokens its trunk has read."""


@runtime_checkable
class SharedModels(Protocol):
    """Models of one checkpoint, whatever it reads."""

    reads_text: ClassVar[bool]
    """Whether it reads words, which could be others."""

    @property
    def models(self) -> Sequence[ModelConfig]: ...

    @property
    def trunk(self) -> Trunk:
        """With the layers of the deepest."""
        ...

    def only(self, model: ModelConfig) -> "SharedModels":
        """One of the models alone, on the same trunk."""
        ...

    def check(
        self,
        model: ModelConfig,
        training: TrainConfig,
        store: TensorStore,
        *,
        is_exported: bool,
        depths: Sequence[int] = (),
    ) -> None:
        """Whether one of the models can be trained and, `is_exported`, exported; `depths` are those of members.

        Raises:
            ModelError: it cannot.
        """
        ...

    def find(self, examples: Sequence[Example]) -> None:
        """Whether there is something to read of each of these examples. Raises DataError."""
        ...

    def read(self, examples: Sequence[Example], reading: Reading, further: Sequence[int] = ()) -> list[ClassRole]:
        """The models with what they read of these examples; heads also at the `further` depths, in the same pass."""
        ...


@dataclass(frozen=True)
class TextModels:
    """Models that read token ids."""

    reads_text: ClassVar[bool] = True
    models: Sequence[ModelConfig]
    trunk: Backbone

    def only(self, model: ModelConfig) -> "TextModels":
        return replace(self, models=[model])

    def check(
        self,
        model: ModelConfig,
        training: TrainConfig,
        store: TensorStore,
        *,
        is_exported: bool,
        depths: Sequence[int] = (),
    ) -> None:
        check_packing_of(training, model, self.trunk)
        check_classifier(model, self.trunk, store, is_exported=is_exported, depths=depths)

    def find(self, examples: Sequence[Example]) -> None: ...

    def read(self, examples: Sequence[Example], reading: Reading, further: Sequence[int] = ()) -> list[ClassRole]:
        backbone, cache, store = self.trunk, reading.cache, reading.store
        ids = encoded(backbone, examples, self.models[0])
        heads = [_layers(model, backbone) for model in self.models if model.adapter == "head"]
        by_depth: Mapping[int, Inputs] = {}
        if heads:
            by_depth = pooled_for_depths(
                backbone.cut(max(heads)),
                ids,
                list(dict.fromkeys([*heads, *further])),
                cache=cache,
                store=store,
                on_tokens=lambda n: reading.on_tokens(self.models[0].model, n),
            )
        roles: list[ClassRole] = []
        for model in self.models:
            is_head = model.adapter == "head"
            inputs = (
                by_depth[_layers(model, backbone)]
                if is_head
                else opened(backbone, ids, model, cache, store, reading.on_tokens)
            )
            at_depth = {depth: by_depth[depth] for depth in further} if is_head else {}
            roles.append(make_role(model, backbone, inputs, ids, cache, store, at_depth))
        return roles


@dataclass(frozen=True)
class PooledModels:
    """Models that give a vector per example and depth, on which heads are trained."""

    reads_text: ClassVar[bool] = False
    models: Sequence[ModelConfig]
    trunk: PooledTrunk

    def only(self, model: ModelConfig) -> "PooledModels":
        return replace(self, models=[model])

    def check(
        self,
        model: ModelConfig,
        training: TrainConfig,
        store: TensorStore,
        *,
        is_exported: bool,
        depths: Sequence[int] = (),
    ) -> None:
        self.trunk.prove(sorted({*depths, _layers(model, self.trunk)}))

    def find(self, examples: Sequence[Example]) -> None:
        self.trunk.check([e.id for e in examples], [e.prompt for e in examples])

    def read(self, examples: Sequence[Example], reading: Reading, further: Sequence[int] = ()) -> list[ClassRole]:
        layers = [_layers(model, self.trunk) for model in self.models]
        depths = list(dict.fromkeys([*layers, *further]))
        shards: dict[int, list[Tensor]] = {depth: [] for depth in depths}
        rows = reading.cache.shard_rows
        with working(f"{self.trunk.name} reads", "examples", len(examples)) as advance:
            for part in (examples[start : start + rows] for start in range(0, len(examples), rows)):
                found = self._features(part, depths, reading)
                for depth in depths:
                    shards[depth].append(found[depth])
                advance(len(part))
        # A vector counts as one token: how much of an example a trunk read for it, its own `flops` say.
        ones = torch.ones(len(examples), dtype=torch.long)
        inputs = {depth: PooledInputs(tuple(shards[depth]), ones) for depth in depths}
        roles: list[ClassRole] = []
        for model, depth in zip(self.models, layers, strict=True):
            cut, own = self.trunk.cut(depth), inputs[depth]
            at_depth = {each: inputs[each] for each in further}
            roles.append(ClassRole(model, cut, cut.flops, 0.0, own, own, None, at_depth))
        return roles

    def _features(self, part: Sequence[Example], depths: Sequence[int], reading: Reading) -> dict[int, Tensor]:
        """Vectors of a shard at each depth: from the store, where a pass was needed for them, or made now."""
        ids, prompts = [e.id for e in part], [e.prompt for e in part]
        if not self.trunk.flops or reading.cache.trunk_cache not in ("auto", "disk"):
            return self.trunk.features(ids, prompts, depths)
        asked = canonical_hash([(each, by_content(prompt)) for each, prompt in zip(ids, prompts, strict=True)])
        facts = {
            "version": POOLED_VERSION,
            "model": self.trunk.fingerprint,
            "dtype": str(self.trunk.dtype),
            "device": self.trunk.device.type,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        keys = {depth: canonical_hash({**facts, "depth": depth, "examples": asked}) for depth in depths}
        stored = {depth: reading.store.get(KIND, key) for depth, key in keys.items()}
        absent = [depth for depth in depths if stored[depth] is None]
        made = self.trunk.features(ids, prompts, absent) if absent else {}
        kept = {depth: reading.store.put(KIND, keys[depth], {"values": made[depth]}) for depth in absent}
        return {depth: (stored[depth] or kept[depth])["values"] for depth in depths}


def load_shared(models: Sequence[ModelConfig]) -> list[SharedModels]:
    """Load each checkpoint once, with the layers of the deepest of its models. Raises ModelError."""
    groups: list[list[ModelConfig]] = []
    for model in models:
        alike = next((group for group in groups if shares_checkpoint(group[0], model)), None)
        if alike is None:
            groups.append([model])
        else:
            alike.append(model)
    return [_loaded(group) for group in groups]


def shares_checkpoint(weak: ModelConfig, strong: ModelConfig) -> bool:
    """Whether both models are cuts of one checkpoint, read in one way."""
    alike = {"pooling", "model", "revision", "dtype", "max_length", "trust_remote_code_from", "chat"}
    return weak.model_dump(include=alike) == strong.model_dump(include=alike)


def _loaded(models: Sequence[ModelConfig]) -> SharedModels:
    deepest = max(models, key=lambda model: model.n_layers or 10**9)
    pooled = open_pooled(deepest)
    return TextModels(models, load_backbone(deepest)) if pooled is None else PooledModels(models, pooled)


def _layers(model: ModelConfig, trunk: Trunk) -> int:
    return model.n_layers or trunk.n_layers
