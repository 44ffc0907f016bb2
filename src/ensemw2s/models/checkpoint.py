"""Which folder a model's name means, what may run from it, and a fingerprint of its content."""

import hashlib
import json
import re
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.fetch import KNOWN, fetch
from ensemw2s.models.folders import cache_home, locked
from ensemw2s.models.hub import download
from ensemw2s.models.tiny import make_tiny

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]


def resolve(config: ModelConfig) -> str:
    """What `config.model` names: a local folder (fetched or made now where need be), or a hub id as it is.

    Raises:
        ModelError: it is none of a known name, `tiny`, an existing folder or a well-formed hub id; or a known
            model cannot be fetched.
    """
    name = config.model
    if name == "tiny":
        return str(_tiny())
    if name in KNOWN:
        return str(fetch(name))
    if Path(name).is_dir():
        return name
    if Path(name).exists() or not HUB_ID.fullmatch(name):
        raise ModelError(
            f"{name}: there is no such model folder; name an existing folder, a hub id (OWNER/NAME), or one "
            f"of {', '.join((*KNOWN, 'tiny'))}"
        )
    return name


def checkpoint_folder(config: ModelConfig) -> Path:
    """The local folder of a model; a hub id is downloaded (safetensors only). Raises ModelError."""
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
    """The folder of a model where nothing need be fetched for its configuration and tokenizer; else None."""
    name = config.model
    if name == "tiny":
        return _tiny()
    if name in KNOWN:
        folder = cache_home() / "models" / name
        return folder if folder.is_dir() else None
    if Path(name).is_dir():
        return Path(name)
    if not HUB_ID.fullmatch(name):
        return None
    found = try_to_load_from_cache(name, "config.json", revision=config.revision)
    return Path(found).parent if isinstance(found, str) else None


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
    """Whether the repository's own code is to run: only where the user named this very repository.

    Raises:
        ModelError: a trusted model refers to the code of another repository.
    """
    if config.trust_remote_code_from is None:
        return False
    for name in ("config.json", "tokenizer_config.json"):
        targets = json.loads((folder / name).read_text()).get("auto_map", {}) if (folder / name).is_file() else {}
        for target in _strings(targets):
            repository = target.partition("--")[0] if "--" in target else config.model
            if repository != config.model:
                raise ModelError(
                    f"{config.model}: {name} asks to run code of another repository, {repository!r}; "
                    "trust_remote_code_from covers the model's own code only, so use a checkpoint that "
                    "carries its code"
                )
    return True


def fingerprint(folder: Path, revision: str | None) -> str:
    """sha256 over the weights' hashes, config.json and the revision; an unchanged file is read once."""
    content = {path.name: _file_hash(path) for path in sorted(folder.glob("*.safetensors"))}
    content["config.json"] = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    content["revision"] = revision or ""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    state = path.resolve().stat()
    key = hashlib.sha256(f"{path.resolve()}\x1f{state.st_size}\x1f{state.st_mtime_ns}".encode()).hexdigest()
    note = cache_home() / "hashes" / key
    if note.is_file() and len(known := note.read_text()) == 64:
        return known
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(digest)  # torn, it is not 64 characters long and is ignored
    except OSError:
        pass  # a read-only home costs the next load a second, no more
    return digest


def _tiny() -> Path:
    folder = cache_home() / "models" / "tiny"
    with locked(folder):
        if not folder.is_dir():
            make_tiny(folder)
    return folder


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for child in children for text in _strings(child)]
