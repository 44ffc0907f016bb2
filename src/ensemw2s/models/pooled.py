"""The seam between trained heads and what they stand on: a frozen trunk, of text or of anything else.

`Backbone` reads token ids, and every adapter can be trained on it. A `PooledTrunk` gives one vector per example and
depth, whatever it makes it of: a file of vectors, a picture. On it heads are trained, and nothing else.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.pictures.load import open_pictures
from ensemw2s.models.vectors import open_vectors


@runtime_checkable
class Trunk(Protocol):
    """What is asked of a frozen model whatever it reads."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Hash of its content, whatever the depth."""
        ...

    @property
    def n_layers(self) -> int:
        """Depth of its features."""
        ...

    @property
    def feature_size(self) -> int:
        """Size of a pooled feature."""
        ...

    @property
    def n_blocks(self) -> int:
        """How many poolings lie side by side in a feature."""
        ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def depth_text(self) -> str:
        """Its depth in a phrase, such as "first 10 layers"."""
        ...

    @property
    def feature_text(self) -> str:
        """What a feature is made of, to follow "a trained head"; empty where that goes without saying."""
        ...

    def weights(self) -> Iterable[Tensor]:
        """Its weights in memory."""
        ...

    def cut(self, n_layers: int) -> "Trunk":
        """The same at a lower depth, sharing the weights. Raises ModelError where it has no such depth."""
        ...


@runtime_checkable
class PooledTrunk(Trunk, Protocol):
    """A trunk that gives a vector per example and depth, and no words."""

    @property
    def flops(self) -> float:
        """Of one example's vector at this depth; 0 where vectors are looked up, which are then not stored again."""
        ...

    def cut(self, n_layers: int) -> "PooledTrunk": ...

    def prove(self, depths: Sequence[int]) -> None:
        """Raises ModelError where its features at one of these depths are not what they should be, on short inputs."""
        ...

    def check(self, ids: Sequence[str], prompts: Sequence[str]) -> None:
        """Raises DataError, naming the first example, where one has no vector. Costs no pass of a model."""
        ...

    def features(
        self, ids: Sequence[str], prompts: Sequence[str], depths: Sequence[int]
    ) -> dict[int, Float[Tensor, "examples _"]]:
        """The vectors of these examples at each depth, in order, on the CPU, as if each example were alone."""
        ...


def open_pooled(config: ModelConfig) -> PooledTrunk | None:
    """The trunk of a model that reads no text, at the depth of its settings; None where it does.

    Raises:
        ModelError: its files are missing or not what they should be.
    """
    return open_vectors(config) if config.is_features else open_pictures(config)


def of_text(trunk: Trunk, what: str, mend: str = "") -> Backbone:
    """The trunk as one of text.

    Args:
        what: that needs one, such as "adapter: lora".
        mend: what to do where it is none, if anything.

    Raises:
        ModelError: it gives vectors alone.
    """
    if not isinstance(trunk, Backbone):
        said = f"{trunk.name}: {what} needs a model that reads text, and this one gives vectors"
        raise ModelError(f"{said}; {mend}" if mend else said)
    return trunk
