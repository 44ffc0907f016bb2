"""A home of its own for every test session, a small labelled task, and a whole experiment of seconds."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ensemw2s.config import ExperimentConfig, parse_config
from ensemw2s.storage.files import cache_home
from tiny_run import comparison_rows, merged, tiny_tree, write_jsonl

torch.set_num_threads(1)
USERS_CACHE = cache_home()
"""Before `home` takes its place."""


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory):
    """ENSEMW2S_HOME: tests neither read nor fill the user's cache, and reach no hub."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENSEMW2S_HOME", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The one real model, where it was fetched: no test downloads it."""
    folder = USERS_CACHE / "models" / "smollm2-135m"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; fetch it with: ensemw2s fetch smollm2-135m")
    return folder


@pytest.fixture(scope="session")
def task_file(tmp_path_factory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("task") / "questions.jsonl", comparison_rows())


@pytest.fixture
def tiny_config(task_file):
    """tiny_config(ensemble={"n_rounds": 2}) -> ExperimentConfig"""

    def make(**changes: Any) -> ExperimentConfig:
        return parse_config(merged(tiny_tree(task_file), changes))

    return make
