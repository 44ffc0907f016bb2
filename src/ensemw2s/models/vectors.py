"""Vectors of a file in the place of a model: whatever encoder, service or other kind of data they come from.

The file is in safetensors: `features` [n, dim], or one tensor for each depth (`depth.1`, `depth.2`, ... in any
selection), with the examples' ids as a list in JSON in its metadata under `ids`.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ensemw2s.config import ModelConfig
from ensemw2s.errors import DataError, ModelError
from ensemw2s.hashing import file_sha256
from ensemw2s.models.loading.load import device
from ensemw2s.names import FEATURES

ONE, DEPTH = "features", re.compile(r"depth\.([1-9][0-9]{0,5})")
SHAPE = "write `features` [n, dim] or depth.1, depth.2, ..., and the metadata `ids`, a list of n texts in JSON"


@dataclass(frozen=True)
class VectorFile:
    """A `PooledTrunk` whose vectors are looked up."""

    path: Path
    name: str
    fingerprint: str
    places: Mapping[str, int]
    """Id to row."""
    tensors: Mapping[int, Float[Tensor, "rows _"]]
    """Depth to the vectors; one tensor without a depth has depth 1."""
    n_layers: int

    n_blocks = 1
    flops = 0.0
    feature_text = ""

    @property
    def feature_size(self) -> int:
        return self.tensors[self.n_layers].shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.tensors[self.n_layers].dtype

    @property
    def device(self) -> torch.device:
        return device()

    @property
    def depth_text(self) -> str:
        return f"{self.feature_size} numbers" + (f", depth {self.n_layers}" if len(self.tensors) > 1 else "")

    def weights(self) -> Iterable[Tensor]:
        return ()

    def cut(self, n_layers: int) -> "VectorFile":
        if n_layers not in self.tensors:
            raise ModelError(
                f"{self.name}: it has no vectors of depth {n_layers} (n_layers); it has {_listed(sorted(self.tensors))}"
            )
        return replace(self, n_layers=n_layers)

    def prove(self, depths: Sequence[int]) -> None:
        for depth in depths:
            self.cut(depth)

    def lacks(self, name: str) -> str:
        """Why the row of this id cannot be read; empty where it can."""
        return "" if name in self.places else f"{self.name} has no vector of the id {name!r}"

    def check(self, ids: Sequence[str], prompts: Sequence[str] = ()) -> None:
        missing = [name for name in ids if name not in self.places]
        if missing:
            more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
            raise DataError(
                f"{self.name}: it has no vector of the example {missing[0]!r}{more}; write one for each id of the task"
            )

    def features(
        self, ids: Sequence[str], prompts: Sequence[str], depths: Sequence[int]
    ) -> dict[int, Float[Tensor, "examples _"]]:
        self.check(ids)
        rows = torch.tensor([self.places[name] for name in ids], dtype=torch.long)
        found = {depth: self.cut(depth).tensors[depth][rows] for depth in depths}
        for depth, vectors in found.items():
            if not (finite := vectors.isfinite().all(1)).all():
                first = ids[int((~finite).nonzero()[0, 0])]
                raise DataError(
                    f"{self.name}: the vector of the example {first!r} (depth {depth}) has values that are NaN or "
                    "infinite; mend it, or leave the example out"
                )
        return found


def open_vectors(config: ModelConfig) -> VectorFile:
    """The vectors of `features:PATH`, at the depth `config.n_layers` (None: the deepest).

    Raises:
        ModelError: there is no such file, it is not laid out as it should be, or it lacks the depth.
    """
    file = read_vectors(Path(config.model.removeprefix(FEATURES)), config.model)
    return file.cut(config.n_layers) if config.n_layers else file


def read_vectors(path: Path, name: str) -> VectorFile:
    """The vectors of a file, whose `name` errors show. Raises ModelError."""
    if not path.is_file():
        raise ModelError(f"{name}: there is no such file; check the path, which counts from the current folder")
    try:
        with safe_open(path, framework="pt") as file:
            ids = _ids(file.metadata() or {}, name)
            tensors = {_depth(key, name): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{name}: it cannot be read as safetensors ({reason}); write it again") from None
    for depth, tensor in tensors.items():
        if tensor.ndim != 2 or len(tensor) != len(ids) or not tensor.shape[1] or not tensor.is_floating_point():
            raise ModelError(
                f"{name}: the vectors of depth {depth} are {tensor.dtype} of shape {list(tensor.shape)} beside "
                f"{len(ids):,} ids; {SHAPE}"
            )
    if not tensors:
        raise ModelError(f"{name}: it has no tensor; {SHAPE}")
    places = {each: row for row, each in enumerate(ids)}
    return VectorFile(path, name, file_sha256(path), places, tensors, max(tensors))


def write_vectors(path: Path, ids: Sequence[str], depths: Mapping[int, Float[Tensor, "rows _"]]) -> None:
    """Write vectors as `features:PATH` reads them, in the order of `ids`."""
    tensors = {f"depth.{depth}": tensor.contiguous() for depth, tensor in depths.items()}
    save_file(tensors, path, metadata={"ids": json.dumps(list(ids))})


def _ids(metadata: Mapping[str, str], name: str) -> list[str]:
    try:
        ids: Any = json.loads(metadata.get("ids", ""))
    except ValueError:
        ids = None
    if not isinstance(ids, list) or not ids or not all(isinstance(each, str) for each in ids):
        raise ModelError(f"{name}: its metadata has no `ids`, or they are no list of texts; {SHAPE}")
    if len(set(ids)) < len(ids):
        twice = next(each for place, each in enumerate(ids) if each in ids[:place])
        raise ModelError(f"{name}: the id {twice!r} is there twice; give each example one vector")
    return ids


def _depth(key: str, name: str) -> int:
    if key == ONE:
        return 1
    if (found := DEPTH.fullmatch(key)) is None:
        raise ModelError(f"{name}: it has a tensor {key!r:.80}; {SHAPE}")
    return int(found[1])


def _listed(depths: Sequence[int]) -> str:
    return ", ".join(map(str, depths[:20])) + (", ..." if len(depths) > 20 else "")
