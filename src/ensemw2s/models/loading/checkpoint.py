"""From a model's name to its folder, whether its own code may run, and a fingerprint of its content."""

import json
import re
import sys
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.hashing import sha256_of
from ensemw2s.models.loading.contents import check_contents, read_settings, strings_of
from ensemw2s.models.loading.fetch import KNOWN, MANIFEST, fetch
from ensemw2s.models.loading.hub import download
from ensemw2s.models.loading.tiny import make_tiny
from ensemw2s.names import TINY_MODELS
from ensemw2s.storage.caches import cached_folder
from ensemw2s.storage.checksums import FILE, facts
from ensemw2s.storage.files import cache_home

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
FINGERPRINT_VERSION = 2
RECORDS = (MANIFEST, FILE)
"""Our own records about the other files."""
IGNORED = (
    *(".md", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".pdf", ".log", ".lock"),
    # Weights of other libraries, and pickles, which are never read.
    *(".bin", ".pt", ".pth", ".h5", ".msgpack", ".ot", ".onnx", ".gguf", ".tflite"),
)
"""Suffixes of files that do not affect what is loaded."""
FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]


def resolve(config: ModelConfig) -> str:
    """Resolve `config.model` to a local folder, fetched or made now if needed, or to a hub id.

    Raises:
        ModelError: it is none of a known name, `tiny`, an existing folder or a well-formed hub id; or a known
            model cannot be fetched.
    """
    name = config.model
    if name in TINY_MODELS:
        return str(_tiny(name))
    if name in KNOWN:
        return str(fetch(name))
    resolvable(config)
    return name


def resolvable(config: ModelConfig) -> None:
    """Raises ModelError where `config.model` can be no model's name: no known one, no folder, no well-formed hub id."""
    name = config.model
    if name in (*KNOWN, *TINY_MODELS) or Path(name).is_dir():
        return
    if Path(name).exists() or not HUB_ID.fullmatch(name):
        raise ModelError(
            f"{name}: there is no such model folder; name an existing folder, a hub id (OWNER/NAME), or one "
            f"of {', '.join((*KNOWN, *TINY_MODELS))}"
        )


def checkpoint_folder(config: ModelConfig) -> Path:
    """The local folder of a model, its contents checked; a hub id is downloaded (safetensors only).

    Raises:
        ModelError: there is no such model, or its folder has refused content (`loading.contents`).
    """
    folder = _local(config)
    check_contents(config.model, folder)
    return folder


def _local(config: ModelConfig) -> Path:
    name = resolve(config)
    if Path(name).is_dir():
        return Path(name)
    patterns = [*FILES, "*.py"] if config.trust_remote_code_from else FILES
    try:
        return download(name, patterns=patterns, revision=config.revision)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{name}: neither a folder here nor a model that the hub gives ({reason}); check the name, the "
            f"revision ({config.revision}) and the network, or name a local folder"
        ) from None


def local_folder(config: ModelConfig) -> Path | None:
    """The folder of a model whose configuration and tokenizer are already local; else None."""
    name = config.model
    if name in TINY_MODELS:
        return _tiny(name)
    if name in KNOWN:
        folder = cache_home() / "models" / name
        return folder if folder.is_dir() else None
    if Path(name).is_dir():
        return Path(name)
    if not HUB_ID.fullmatch(name):
        return None
    try:
        cached = try_to_load_from_cache(name, "config.json", revision=config.revision)
    except ValueError:  # the library's own idea of an id is narrower
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def local_copy(config: ModelConfig) -> tuple[ModelConfig, Path] | None:
    """The model under its local folder as its name, and that folder; None where it would have to be fetched."""
    folder = local_folder(config)
    if folder is None:
        return None
    trusted = None if config.trust_remote_code_from is None else str(folder)
    return config.model_copy(update={"model": str(folder), "trust_remote_code_from": trusted}), folder


def weight_files(config: ModelConfig, folder: Path) -> list[Path]:
    """The checkpoint's safetensors files. Raises ModelError where there are none: pickles are not read."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth"))
        has = f"only {pickled[0]}, a pickle that could run code" if pickled else "no weights"
        raise ModelError(
            f"{config.model}: {folder} holds {has}; save the model with save_pretrained, which writes model.safetensors"
        )
    return files


def own_code(config: ModelConfig, folder: Path) -> bool:
    """Whether the repository's own code may run: only where the user named this repository.

    Raises:
        ModelError: a trusted model refers to the code of another repository.
    """
    return runs_code_of(config.model, folder, config.trust_remote_code_from)


def runs_code_of(model: str, folder: Path, trusted: str | None) -> bool:
    """Whether the code that a folder names may run: only where all of it belongs to the trusted repository.

    Args:
        model: the user's name of the folder, to which code in the folder belongs.
        trusted: repository named by the user, never by the folder itself.

    Raises:
        ModelError: the folder refers to the code of a repository that is not trusted.
    """
    if trusted is None:
        return False
    for name in ("config.json", "tokenizer_config.json"):
        targets = read_settings(model, folder / name).get("auto_map") if (folder / name).is_file() else None
        for target in strings_of(targets):
            repository = target.partition("--")[0] if "--" in target else model
            if repository != trusted:
                raise ModelError(
                    f"{model}: {name} asks to run code of another repository, {repository!r}; "
                    f"trust_remote_code_from covers the code of {trusted!r} only, so use a checkpoint that "
                    "carries its code"
                )
    return True


def fingerprint(folder: Path, revision: str | None) -> str:
    """sha256 over all files of a model folder that may affect what the library loads, and the revision.

    All files count but those known to have no effect (`IGNORED`), because a list of files that the library reads would
    miss the vocabulary of the next tokenizer.
    """
    files = [p for p in folder.iterdir() if p.is_file() and not _is_ignored(p)]
    files += folder.glob("additional_chat_templates/*")
    files += folder.glob("*/**/*.py")
    content = {p.relative_to(folder).as_posix(): facts(p)["sha256"] for p in files}
    record = {"version": FINGERPRINT_VERSION, "files": content, "revision": revision or ""}
    return sha256_of(json.dumps(record, sort_keys=True).encode())


def _is_ignored(path: Path) -> bool:
    name = path.name
    return name.startswith((".", "LICENSE", "NOTICE")) or name in RECORDS or path.suffix.lower() in IGNORED


def _tiny(name: str) -> Path:
    make = make_tiny
    if name != "tiny":
        from ensemw2s.models.loading.tiny_pictures import MAKERS  # loads the library's image processors

        make = MAKERS[name]
    return cached_folder(cache_home() / "models" / name, make, echo=lambda text: print(text, file=sys.stderr))
