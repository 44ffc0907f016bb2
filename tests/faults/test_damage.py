"""Store, run, models and data: every file, damaged in every way, is named and made anew, or refused; never used."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from damage import DAMAGES, files_of, fresh_copy
from ensemw2s.config import ExperimentConfig, ModelConfig, parse_config
from ensemw2s.errors import EnsemW2SError, RunError
from ensemw2s.models.loading.checkpoint import fingerprint, resolve
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.loading.tiny import make_tiny
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import (
    CONFIG,
    EVENTS,
    ITEMS,
    RESULTS,
    TIMING,
    faults,
    is_finished,
    read_items,
    read_results,
    read_timing,
)
from ensemw2s.pipeline.run_log import read_events
from tiny_run import comparison_rows, merged, tiny_tree, write_jsonl

SMALL = {
    "seeds": [0],
    "ensemble": {"methods": ["single", "bagging"], "n_rounds": 2},
    "students": {"recipes": [{}]},
    "expert_training": {"epochs": 2},
    "student_training": {"epochs": 2},
}


@dataclass(frozen=True)
class Finished:
    """A finished run and its store."""

    config: ExperimentConfig
    run_dir: Path
    store: Path


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Finished:
    root = tmp_path_factory.mktemp("whole")
    config = parse_config(merged(tiny_tree(write_jsonl(root / "q.jsonl", comparison_rows())), SMALL))
    run(config, root / "run", store_root=root / "store")
    return Finished(config, root / "run", root / "store")


def said(run_dir: Path) -> str:
    return "\n".join(e["message"] for e in read_events(run_dir) if e["event"] == "damaged_artifact")


def outcome(act: Callable[[], object]) -> str:
    """What it was refused with; nothing where it was not."""
    try:
        act()
    except EnsemW2SError as error:
        return str(error)
    return ""


def check_store(whole: Finished, tmp_path: Path, damages: list[str], turn: int) -> None:
    """One file of every artifact is damaged; over three turns each file of each has its turn."""
    store = fresh_copy(whole.store, tmp_path / "store")
    folders = sorted(p.parent for p in store.glob("[a-z]*/*/*/manifest.json"))
    assert len(folders) > 7
    for number, folder in enumerate(folders):
        DAMAGES[damages[number % len(damages)]](files_of(folder)[(number // len(damages) + turn) % 3])
    run(whole.config, tmp_path / "run", store_root=store)
    assert (tmp_path / "run" / RESULTS).read_bytes() == (whole.run_dir / RESULTS).read_bytes()
    named = said(tmp_path / "run")
    assert all(str(folder) in named for folder in folders)
    for folder in folders:
        original = whole.store / folder.relative_to(store)
        assert [p.name for p in files_of(folder)] == [p.name for p in files_of(original)]
        assert all(p.read_bytes() == (original / p.name).read_bytes() for p in files_of(folder))


def test_damaged_artifacts_are_named_and_made_again_and_the_results_stay(whole, tmp_path):
    check_store(whole, tmp_path, list(DAMAGES), 0)


@pytest.mark.damage
@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("damage", DAMAGES)
def test_each_file_of_each_artifact_damaged_in_each_way_is_named_and_made_again(whole, tmp_path, damage, turn):
    check_store(whole, tmp_path, [damage], turn)


@pytest.mark.parametrize(
    "damage", ["cut", pytest.param("flipped", marks=pytest.mark.damage), "emptied", "dangling_link"]
)
def test_running_again_restores_every_damaged_file_of_a_run(whole, tmp_path, damage):
    copy = fresh_copy(whole.run_dir, tmp_path / "run")
    seconds = read_timing(copy).total_seconds
    names = [p.relative_to(copy).as_posix() for p in files_of(copy)]
    own = [n for n in names if n.split("/")[0] not in ("student", "ensemble", ".lock", CONFIG)]
    for name in own:
        DAMAGES[damage](copy / name)
    run(whole.config, copy, store_root=whole.store)
    assert (copy / RESULTS).read_bytes() == (whole.run_dir / RESULTS).read_bytes()
    assert (copy / ITEMS).read_bytes() == (whole.run_dir / ITEMS).read_bytes()
    assert faults(copy) == []
    assert "</html>" in (copy / "report.html").read_text()
    assert said(copy)
    assert read_events(copy)[-1]["event"] == "finished"
    if damage == "flipped":  # the log lost one line, so the seconds of all but the last runs are still there
        assert read_timing(copy).total_seconds >= seconds
    assert [p.relative_to(copy).as_posix() for p in files_of(copy)] == names


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_configuration_of_a_run_is_written_again_or_refused(whole, tmp_path, damage):
    copy = fresh_copy(whole.run_dir, tmp_path / "run")
    DAMAGES[damage](copy / CONFIG)
    refusal = outcome(lambda: run(whole.config, copy, store_root=whole.store))
    if refusal:
        assert CONFIG in refusal or "another configuration" in refusal
        return
    assert (copy / CONFIG).read_bytes() == (whole.run_dir / CONFIG).read_bytes()
    assert f"{CONFIG}" in said(copy) or damage in ("deleted", "dangling_link")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_figures_of_a_run_are_never_read(whole, tmp_path, damage):
    for name, read in ((RESULTS, read_results), (ITEMS, read_items)):
        copy = tmp_path / name
        shutil.copytree(whole.run_dir, copy)
        DAMAGES[damage](copy / name)
        with pytest.raises(RunError, match=r"results\.json|items\.safetensors"):
            read(copy)
    copy = tmp_path / "checksums"
    shutil.copytree(whole.run_dir, copy)
    DAMAGES[damage](copy / "checksums.json")
    refusal = outcome(lambda: read_results(copy))
    assert "results.json" in refusal or read_results(copy) == read_results(whole.run_dir)  # another file's was flipped
    assert not is_finished(copy, whole.config)
    copy = tmp_path / "timing"
    shutil.copytree(whole.run_dir, copy)
    DAMAGES[damage](copy / TIMING)
    assert read_timing(copy) is None


def test_damaged_seconds_come_back_from_the_log(whole, tmp_path):
    copy = fresh_copy(whole.run_dir, tmp_path / "run")
    before = read_timing(copy)
    (copy / TIMING).write_text("{")
    run(whole.config, copy, store_root=whole.store)
    after = read_timing(copy)
    assert {s.stage: s.computed for s in after.stages} == {s.stage: s.computed for s in before.stages}
    assert after.total_seconds > before.total_seconds
    (copy / EVENTS).write_bytes(b"\xff\n[1]\n" + (copy / EVENTS).read_bytes()[40:])
    assert read_events(copy)[-1]["event"] == "finished"


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_tiny_model_is_made_again_from_every_damage(home, damage, capsys):
    folder = Path(resolve(ModelConfig(model="tiny")))
    whole = {p.name: p.read_bytes() for p in files_of(folder)}
    for name in whole:
        DAMAGES[damage](folder / name)
        assert resolve(ModelConfig(model="tiny")) == str(folder)
        assert {p.name: p.read_bytes() for p in files_of(folder)} == whole
        assert f"{folder}: damaged (" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["cut", "flipped", "folder_in_its_place"])
def test_a_damaged_file_of_a_local_model_is_refused_or_is_another_model(tmp_path, damage):
    whole = make_tiny(tmp_path / "whole")
    known = fingerprint(whole, None)
    for name in (p.name for p in files_of(whole)):
        copy = fresh_copy(whole, tmp_path / "copy")
        DAMAGES[damage](copy / name)
        refusal = outcome(partial(load_backbone, ModelConfig(model=str(copy))))
        if refusal:
            assert "\n" not in refusal
            assert str(copy) in refusal
        else:
            assert fingerprint(copy, None) != known
