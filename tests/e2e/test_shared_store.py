"""Several processes on one store, which is damaged under their hands: all end, and with the same."""

import contextlib
import random
from pathlib import Path

import pytest
import torch

from damage import DAMAGES
from ensemw2s.pipeline.run import run
from ensemw2s.storage.store import Artifact, Store
from forked import in_processes

CHANGES = {
    "seeds": [0],
    "strong": {"adapter": "top", "top_layers": 1},
    "ensemble": {"methods": ["single", "bagging"], "n_rounds": 2},
    "students": {"recipes": [{}]},
    "student_training": {"epochs": 3, "checkpoint_steps": 1},
}


QUIET = sorted(set(DAMAGES) - {"folder_in_its_place"})
BUSY = ["deleted", "dangling_link"]
"""While others read: a file that is rewritten under a mapping would end its reader, whatever we do."""


def spoil(rng: random.Random, store: Path, share: float, damages: list[str]) -> None:
    """Damage a file of some artifacts, which other processes may be removing meanwhile."""
    folders = [p for p in store.glob("[a-z]*/*/*") if rng.random() < share]
    for folder in folders:
        name = rng.choice(["tensors.safetensors", "record.json", "manifest.json"])
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # gone, or there again
            DAMAGES[rng.choice(damages)](folder / name)


def test_processes_that_make_replace_and_remove_the_same_things_never_stumble(tmp_path):
    def work(number: int) -> None:
        rng, store = random.Random(number), Store(tmp_path, on_event=lambda message: None)
        for step in range(40):
            key = f"{rng.randrange(4):02x}" * 32
            value = float(int(key[:2], 16))
            made = store.memo("things", key, lambda value=value: Artifact({"x": torch.full((5,), value)}, {"v": value}))
            assert made.record == {"v": value}
            assert made.tensors["x"].tolist() == [value] * 5
            store.replace("checkpoints", key, {"step": torch.tensor([step, step])})
            state = store.get("checkpoints", key)
            assert state is None or len(set(state["step"].tolist())) == 1
            if rng.random() < 0.3:
                store.discard("checkpoints", key)
            if rng.random() < 0.2:
                spoil(rng, tmp_path, 0.3, BUSY)

    assert in_processes(4, work) == [0] * 4
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.damage
@pytest.mark.timeout(900)
def test_ten_processes_on_one_store_with_damage_and_checkpoints_end_with_the_same_results(tmp_path, tiny_config):
    config, n, store = tiny_config(**CHANGES), 10, tmp_path / "store"
    run(config, tmp_path / "calm", store_root=tmp_path / "calm-store")
    calm = (tmp_path / "calm" / "results.json").read_bytes()
    for number in range(3):
        spoil(random.Random(number), store, 0.5, QUIET)

        def work(i: int, number: int = number) -> None:
            run(config, tmp_path / f"{number}-{i}", store_root=store)

        assert in_processes(n, work) == [0] * n
        assert all((tmp_path / f"{number}-{i}" / "results.json").read_bytes() == calm for i in range(n))
    assert not list(store.glob("checkpoints/*/*"))
    assert not list(store.glob(".tmp-*"))
