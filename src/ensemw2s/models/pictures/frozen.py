"""What frozen models on pictures share: opening a checkpoint, and the states of several depths in one pass."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.load import choose_dtype

BACKEND = "pil"
"""Of image processors. The library would take torchvision where it is installed, which resizes otherwise."""


def open_checkpoint(
    config: ModelConfig, folder: Path, trust: bool, model_class: Any, processor_class: Any
) -> tuple[Any, Any, list[str]]:
    """Model and processor of two of the library's `Auto` classes, and the names of the tensors that the folder lacks.

    Those are initialised, for the caller to refuse or not to read.
    """
    processor = open_processor(folder, trust, processor_class)
    with torch.random.fork_rng(devices=[]):
        model, info = model_class.from_pretrained(
            folder,
            dtype=choose_dtype(config),
            use_safetensors=True,
            trust_remote_code=trust,
            local_files_only=True,
            output_loading_info=True,
        )
    return model, processor, sorted(info["missing_keys"])


def open_processor(folder: Path, trust: bool, processor_class: Any) -> Any:
    """The processor of a checkpoint, on Pillow."""
    return processor_class.from_pretrained(folder, backend=BACKEND, trust_remote_code=trust, local_files_only=True)


def refuse_lacking(name: str, folder: Path, lacking: Sequence[str]) -> None:
    """Raises ModelError where the checkpoint lacks tensors."""
    if lacking:
        raise ModelError(
            f"{name}: the checkpoint in {folder} lacks {lacking[0]} and {len(lacking) - 1} other tensors; "
            "fetch it again"
        )


def states_of(layers: nn.ModuleList, depths: Collection[int], run: Callable[[], object]) -> dict[int, Tensor]:
    """What each of these layers (depth 1 is the first) gives during `run`, by depth."""
    states: dict[int, Tensor] = {}

    def keeper(depth: int) -> Callable[[nn.Module, object, Any], None]:
        def hook(_layer: nn.Module, _inputs: object, output: Any) -> None:
            states[depth] = output if isinstance(output, Tensor) else output[0]

        return hook

    hooks = [layers[depth - 1].register_forward_hook(keeper(depth)) for depth in set(depths)]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return states
