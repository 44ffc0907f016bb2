"""Conversion of a GGUF file to the library's own format."""

import contextlib
import importlib.util
import io
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from ensemw2s.errors import ModelError
from ensemw2s.models.loading.quiet import quiet


def convert_gguf(file: Path, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file into `folder`, in the library's own format, in bfloat16.

    Raises:
        ModelError: the packages that read GGUF are missing, or the written tensors differ from those read.
    """
    missing = [package for package in ("gguf", "accelerate") if importlib.util.find_spec(package) is None]
    if missing:
        raise ModelError(
            f"{file.name}: reading it needs the package {missing[0]}; install it with pip install 'ensemw2s[demo]'"
        )
    # The library shows a progress bar for GGUF even where progress bars are disabled.
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        loaded = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
    # The library refuses to save a model read from quantised weights; a plain one takes over its tensors.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        delattr(config, "quantization_config")
    with torch.random.fork_rng(devices=[]):
        plain = type(loaded)(config)
    plain.load_state_dict(loaded.state_dict())
    plain = plain.bfloat16()
    with quiet():
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    _check_saved(folder / "model.safetensors", loaded.state_dict())


def _check_saved(file: Path, source: dict[str, torch.Tensor]) -> None:
    with safe_open(file, "pt") as saved:
        names = sorted(saved.keys())
        for name in names[:: max(1, len(names) // 8)]:
            if not torch.equal(saved.get_tensor(name), source[name].to(torch.bfloat16)):
                raise ModelError(
                    f"{file.name}: the tensor {name} differs from the one it was converted from; check the "
                    "disk and fetch again"
                )
