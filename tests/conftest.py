"""A home of its own for every test session, a small labelled task, and a whole experiment of seconds.

The package is imported within the fixtures: pytest-xdist's own process, which runs no test, need not wait for it.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tiny_run import comparison_rows, merged, tiny_tree, write_jsonl

if TYPE_CHECKING:
    from ensemw2s.config import ExperimentConfig

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported
SLOW_FILES = (
    "test_cluster.py",
    "test_words.py",
    "test_bad_input.py",
    "test_leaderboard.py",
    "test_queue.py",
    "test_promises.py",
    "test_launch.py",
    "test_papers.py",
    "test_replication.py",
)
"""Begun first, so that with several processes none is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: i for i, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(scope="session")
def users_cache() -> Path:
    """The user's own cache, before `home` takes its place."""
    from ensemw2s.storage.files import cache_home

    return cache_home()


@pytest.fixture(autouse=True, scope="session")
def home(users_cache, tmp_path_factory):
    """ENSEMW2S_HOME: tests neither read nor fill the user's cache, and reach no hub."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENSEMW2S_HOME", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield folder


@pytest.fixture(scope="session")
def smollm2(users_cache) -> Path:
    """The one real model, where it was fetched: no test downloads it."""
    folder = users_cache / "models" / "smollm2-135m"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; fetch it with: ensemw2s fetch smollm2-135m")
    return folder


@pytest.fixture(scope="session")
def task_file(tmp_path_factory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("task") / "questions.jsonl", comparison_rows())


@pytest.fixture
def tiny_config(task_file):
    """tiny_config(ensemble={"n_rounds": 2}) -> ExperimentConfig"""

    from ensemw2s.config import parse_config

    def make(**changes: Any) -> "ExperimentConfig":
        return parse_config(merged(tiny_tree(task_file), changes))

    return make


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine, which huggingface_hub takes for its own, with a token."""
    from huggingface_hub import constants, hf_api

    from local_hub import local_hub

    with local_hub(tmp_path / "hub") as made:
        for name, value in {
            "ENDPOINT": made.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": made.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_CACHE": str(tmp_path / "cache"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(hf_api.api, "endpoint", made.url)
        monkeypatch.setenv("HF_TOKEN", made.token)
        yield made
