"""Checks of a model folder: weights are safetensors inside it, and nothing leads the library elsewhere."""

import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

from ensemw2s.errors import ModelError
from ensemw2s.models.loading.declared import check_declared

INDEX = ".safetensors.index.json"
ADAPTER = "adapter_config.json"
WEIGHTS = ".safetensors"
SETTINGS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
)
VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt")
SETTINGS_BYTES, VOCABULARY_BYTES = 2**24, 2**28
"""Largest sizes of settings and vocabulary files that are read, several times those of the largest known models."""
IMPLEMENTATIONS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
"""Settings of config.json that can name code on the hub, which the library would download and run."""


def check_contents(name: str, folder: Path) -> None:
    """Refuse a folder that leads outside itself, to code or to pickles. Only its small files are read.

    Raises:
        ModelError: a file is a link out of the folder, no file, or too large; a weights index is malformed or names
            anything but safetensors of this folder; config.json names code or weights elsewhere, or sizes that its
            weights do not have (`models.declared`); it is a PEFT adapter.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise ModelError(f"{name}: {folder} cannot be read ({error.strerror}); name a readable folder") from None
    for path in paths:
        if path.name in (*SETTINGS, *VOCABULARIES, ADAPTER) or path.suffix in (WEIGHTS, ".model") or _is_index(path):
            _check_file(name, folder, path)
    if (folder / ADAPTER).exists():
        base = read_settings(name, folder / ADAPTER).get("base_model_name_or_path")
        raise ModelError(
            f"{name}: {folder} is a PEFT adapter (it has {ADAPTER}) of {base!r}, not a whole model; merge it into its "
            "base (PeftModel.from_pretrained, merge_and_unload, save_pretrained) and name that folder"
        )
    for path in paths:
        if _is_index(path):
            _check_index(name, folder, path)
    check_declared(name, folder)
    _check_config(name, folder, read_settings(name, folder / "config.json"))


def check_tokenizer_packages(name: str, folder: Path) -> None:
    """Refuse a tokenizer that needs a package that is not installed. Raises ModelError naming the package."""
    models = sorted(folder.glob("*.model"))
    if not models or any((folder / other).is_file() for other in VOCABULARIES if other != "merges.txt"):
        return
    with models[0].open("rb") as file:
        # A SentencePiece model is a protocol buffer whose first field is the list of pieces; tiktoken's is text.
        package = "sentencepiece" if file.read(1) == b"\n" else "tiktoken"
    if importlib.util.find_spec(package) is None:
        raise ModelError(
            f"{name}: reading its tokenizer, {models[0].name}, needs the package {package}; install it with pip "
            f"install {package}, or save the tokenizer as tokenizer.json (with save_pretrained, where it can be read)"
        )


def _check_file(name: str, folder: Path, path: Path) -> None:
    if path.is_symlink() and not _stays(folder, path):
        raise ModelError(
            f"{name}: {path.name} in {folder} is a link that leads out of the folder, to {path.readlink()}; copy the "
            "file into the folder"
        )
    if not path.is_file():
        what = "a link to nothing" if path.is_symlink() else "not a file"
        raise ModelError(f"{name}: {path.name} in {folder} is {what}; check the folder or fetch it again")
    if path.suffix == WEIGHTS:
        return
    largest = VOCABULARY_BYTES if path.name in VOCABULARIES or path.suffix == ".model" else SETTINGS_BYTES
    if (size := path.stat().st_size) > largest:
        raise ModelError(
            f"{name}: {path.name} in {folder} has {size:,} bytes, more than the {largest:,} that are read; this is no "
            "model of the library, so check the folder or fetch it again"
        )


def _stays(folder: Path, path: Path) -> bool:
    """Whether a link stays in the folder or, in the hub's cache, among the blobs of the cache."""
    homes = [folder.resolve()]
    repository = homes[0].parent.parent
    if homes[0].parent.name == "snapshots" and repository.name.startswith("models--"):
        homes += [(repository / "blobs").resolve(), (repository.parent / "blobs").resolve()]
    try:
        target = path.resolve()
    except (OSError, RuntimeError):  # a cycle of links
        return False
    return any(target.is_relative_to(home) for home in homes)


def _check_index(name: str, folder: Path, path: Path) -> None:
    index = read_settings(name, path)
    weights = index.get("weight_map")
    if not isinstance(weights, dict) or not weights or not isinstance(index.get("metadata"), dict):
        raise ModelError(
            f"{name}: {path.name} in {folder} is not an index of weights (it needs metadata and a weight_map of tensor "
            "to file); save the model again with save_pretrained"
        )
    for tensor, file in weights.items():
        # Weights elsewhere would be loaded without being part of the fingerprint.
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(WEIGHTS):
            raise ModelError(
                f"{name}: {path.name} in {folder} says that {tensor} lies in {file!r}; only .safetensors files of the "
                "folder itself are read, so save the model again with save_pretrained"
            )
        if not (folder / file).is_file():
            raise ModelError(f"{name}: {folder} lacks {file!r}, which {path.name} names; fetch the model again")


def _check_config(name: str, folder: Path, config: dict[str, Any]) -> None:
    weights = config.get("transformers_weights")
    if weights is not None and not (
        isinstance(weights, str) and Path(weights).name == weights and weights.endswith((WEIGHTS, INDEX))
    ):
        raise ModelError(
            f"{name}: config.json in {folder} names weights outside the folder or of another kind "
            f"(transformers_weights: {weights!r}); only .safetensors files of the folder itself are read"
        )
    sections = [config, *(part for part in config.values() if isinstance(part, dict))]
    for setting, section in itertools.product(IMPLEMENTATIONS, sections):
        for value in strings_of(section.get(setting)):
            if "/" in value or ":" in value:
                raise ModelError(
                    f"{name}: config.json in {folder} asks to run code of another repository ({setting}: {value!r}), "
                    "which is never done; take the setting out"
                )


def read_settings(name: str, path: Path) -> dict[str, Any]:
    """Read a JSON object of a model folder. Raises ModelError."""
    try:
        size = path.stat().st_size
        settings = json.loads(path.read_bytes()) if size <= SETTINGS_BYTES else None
        if isinstance(settings, dict):
            return settings
        what = f"is a {type(settings).__name__}, not an object" if size <= SETTINGS_BYTES else f"has {size:,} bytes"
        reason = f"it {what}"
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
    raise ModelError(
        f"{name}: {path.name} in {path.parent} cannot be loaded ({reason}); check the folder or fetch it again"
    )


def strings_of(value: object) -> list[str]:
    """All strings within a JSON value, at any depth."""
    strings, waiting = [], [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            strings.append(part)
        elif isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return strings


def _is_index(path: Path) -> bool:
    return path.name.endswith(INDEX)
