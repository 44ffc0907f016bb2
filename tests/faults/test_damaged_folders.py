"""Labels, students and ensembles: every file of them, damaged in every way, is named and made anew, or refused."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from damage import DAMAGES, files_of, fresh_copy
from ensemw2s.config import load_config
from ensemw2s.errors import EnsemW2SError, RunError
from ensemw2s.export.ensembles.ensemble_folder import read_ensemble_record
from ensemw2s.export.ensembles.labeller import open_labeller
from ensemw2s.export.ensembles.prompt_reader import unreadable
from ensemw2s.export.student import answer_prompts, saved_prompting
from ensemw2s.pipeline.run import run
from ensemw2s.services.labelling.folder import MANIFEST
from ensemw2s.services.labelling.label_file import LabelCounts, label_file
from ensemw2s.services.labelling.ledger import LEDGER
from tiny_run import write_jsonl

PROMPTS = ["Is 90 above 3?", "Is 4 above 70?"]


class Fake:
    """Answers by the prompt alone; a prompt of "long" is longer than it reads."""

    fingerprint = "f" * 8

    def __init__(self, stop_after: int = 10**9):
        self.labelled: list[str] = []
        self.stop_after = stop_after

    def sizes(self, prompts):
        return [(9, unreadable([1] * 9, 6, 99)) if prompt == "long" else (3, "") for prompt in prompts]

    def label(self, prompts):
        if len(self.labelled) >= self.stop_after:
            raise KeyboardInterrupt
        self.labelled += prompts
        return [{"answer": p[::-1]} for p in prompts]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


@pytest.fixture
def source(tmp_path) -> str:
    prompts = ["long" if i in (1, 7) else f"question {i}" for i in range(10)]
    return str(write_jsonl(tmp_path / "in.jsonl", [{"prompt": p} for p in prompts]))


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
def test_a_damaged_file_of_labels_is_named_and_its_shard_made_anew_or_the_folder_refused(
    tmp_path, source, finished, capsys
):
    label_file(Fake(), source, tmp_path / "whole", shard_rows=3)
    whole, begun = contents(tmp_path / "whole"), tmp_path / "whole"
    if not finished:
        begun = tmp_path / "begun"
        with pytest.raises(KeyboardInterrupt):
            label_file(Fake(stop_after=7), source, begun, shard_rows=3)
    names = {p.name for p in files_of(begun)} - {".lock"}
    assert {"labels-00000.jsonl", "errors-00000.jsonl", "labels-00002.jsonl", MANIFEST} <= names
    assert (LEDGER in names) != finished
    for name in sorted(names):
        for kind, damage in DAMAGES.items():
            folder = fresh_copy(begun, tmp_path / "damaged")
            damage(folder / name)
            capsys.readouterr()
            fake = Fake()
            try:
                counts = label_file(fake, source, folder, shard_rows=3)
            except RunError as error:
                refused = str(error)
            else:
                refused = ""
            if refused:
                assert kind == "folder_in_its_place" or name == MANIFEST, (name, kind)
                assert name in refused, (name, kind)
                assert not fake.labelled
                continue
            assert counts == LabelCounts(10, 8, 2, 4), (name, kind)
            assert contents(folder) == whole, (name, kind)
            if name != LEDGER:
                assert name in capsys.readouterr().err, (name, kind)
                assert len(fake.labelled) <= 3 + (0 if finished else 2), (name, kind)


def test_files_that_are_none_of_the_shards_are_refused_by_name(tmp_path, source):
    label_file(Fake(), source, tmp_path / "out", shard_rows=3)
    first = tmp_path / "out" / "labels-00000.jsonl"
    for name in ("labels-00004.jsonl", "labels-00000 (copy).jsonl", "labels-000000.jsonl", "errors-99999.jsonl"):
        shutil.copy(first, tmp_path / "out" / name)
        with pytest.raises(RunError, match="none of the 4 shards") as caught:
            label_file(Fake(), source, tmp_path / "out", shard_rows=3)
        assert name in str(caught.value)
        (tmp_path / "out" / name).unlink()


def test_errors_that_were_added_to_a_shard_are_named_and_removed(tmp_path, source, capsys):
    label_file(Fake(), source, tmp_path / "out", shard_rows=3)
    whole = contents(tmp_path / "out")
    (tmp_path / "out" / "errors-00001.jsonl").write_text("{}\n")
    label_file(Fake(), source, tmp_path / "out", shard_rows=3)
    assert "errors-00001.jsonl was added" in capsys.readouterr().err
    assert contents(tmp_path / "out") == whole


def test_a_manifest_whose_counts_were_changed_is_refused(tmp_path, source):
    label_file(Fake(), source, tmp_path / "out", shard_rows=3)
    path = tmp_path / "out" / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["counts"]["labelled"] = 9
    path.write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="not the manifest of labels, or damaged"):
        label_file(Fake(), source, tmp_path / "out", shard_rows=3)


def predicted(folder: Path) -> list[dict]:
    saved_prompting(folder)
    return list(answer_prompts(folder, PROMPTS))


def labelled(folder: Path) -> list[dict]:
    read_ensemble_record(folder)
    return open_labeller(folder).label(PROMPTS)


@pytest.mark.parametrize(("part", "use"), [("student", predicted), ("ensemble", labelled)])
def test_a_damaged_file_of_an_exported_folder_is_refused_by_name_with_the_mend(finished, part, use, tmp_path):
    assert use(fresh_copy(finished / part, tmp_path / "whole"))
    names = [p.name for p in files_of(finished / part)]
    assert len(names) > 2
    for name in names:
        for kind, damage in DAMAGES.items():
            folder = fresh_copy(finished / part, tmp_path / "damaged")
            damage(folder / name)
            if name == "README.md":
                assert use(folder), kind
                continue
            with pytest.raises(EnsemW2SError) as caught:
                use(folder)
            message = str(caught.value)
            assert str(folder) in message, (name, kind)
            if name != "answers.json":  # without it, or where it leads nowhere, it is no student at all
                assert name in message, (name, kind, message)
            assert "\n" not in message


def test_a_students_card_may_be_edited_and_files_of_other_kinds_added(finished, tmp_path):
    folder = fresh_copy(finished / "student", tmp_path / "student")
    (folder / "README.md").write_text("mine")
    (folder / "notes.md").write_text("mine")
    (folder / ".gitattributes").write_text("")
    assert predicted(folder) == predicted(finished / "student")
    (folder / "added_tokens.json").write_text('{"Is": 5}')
    with pytest.raises(EnsemW2SError, match=r"added_tokens\.json was added"):
        predicted(folder)


def test_running_again_exports_damaged_folders_anew(finished, tmp_path):

    tree = yaml.safe_load((finished / "config.yaml").read_text())
    del tree["_run"]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    before = [predicted(finished / "student"), labelled(finished)]
    for name in ("student/model.safetensors", "ensemble/experts.safetensors"):
        DAMAGES["flipped"](finished / name)
    run(load_config(path), finished, store_root=finished.parent / "store")
    assert [predicted(finished / "student"), labelled(finished)] == before
