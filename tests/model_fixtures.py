import random
from pathlib import Path

import pytest
import torch

from ensemw2s.config import ModelConfig
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.loading.tiny import make_tiny
from tiny_families import make_tiny_encoder


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own cache, and none waits for a hub."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ENSEMW2S_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny") / "llama")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("tiny") / "bert")


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A decoder with learned positions, transposed linear layers, dropout and other names for everything."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("tiny") / "gpt2"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=258,
            n_embd=32,
            n_layer=3,
            n_head=4,
            n_positions=128,
            bos_token_id=1,
            eos_token_id=1,
            initializer_range=0.2,
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return folder


def load(folder: Path, **settings: object) -> Backbone:
    return load_backbone(ModelConfig(model=str(folder), dtype="float32", **settings))


@pytest.fixture
def backbone(tiny: Path) -> Backbone:
    return load(tiny)


@pytest.fixture(scope="session")
def ids() -> list[list[int]]:
    """Twelve examples of 1 to 40 tokens."""
    draw = random.Random(0)
    return [[draw.randrange(2, 258) for _ in range(n)] for n in (5, 40, 1, 17, 5, 9, 33, 2, 12, 12, 26, 7)]


class DictStore:
    """A TensorStore in memory that counts."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], dict[str, torch.Tensor]] = {}

    def get(self, kind: str, key: str) -> dict[str, torch.Tensor] | None:
        return self.kept.get((kind, key))

    def put(self, kind: str, key: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.kept[kind, key] = {name: tensor.clone() for name, tensor in tensors.items()}
        return self.kept[kind, key]

    def replace(self, kind: str, key: str, tensors: dict[str, torch.Tensor]) -> None:
        self.put(kind, key, tensors)

    def discard(self, kind: str, key: str) -> None:
        self.kept.pop((kind, key), None)


@pytest.fixture
def store() -> DictStore:
    return DictStore()


@pytest.fixture(scope="session")
def load_tiny():
    return load
