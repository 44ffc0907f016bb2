"""Ensembles on pictures label files: as the run labelled its own examples, row by row, and refuse what they cannot."""

import json
import random

import pytest
import torch
from PIL import Image

from ensemw2s.cli.commands import run_command
from ensemw2s.config import parse_config
from ensemw2s.data.templates.prompts import prompts_of
from ensemw2s.errors import ModelError
from ensemw2s.export.ensembles.class_labeller import ClassLabeller
from ensemw2s.export.ensembles.ensemble_folder import read_ensemble_record
from ensemw2s.export.ensembles.labeller import open_labeller, open_reader
from ensemw2s.export.opened import open_answerers
from ensemw2s.pipeline.run import run
from ensemw2s.storage.store import Store
from tiny_run import merged, tiny_tree, write_jsonl

VISION, MULTIMODAL = {"model": "tiny-vision", "n_layers": 2}, {"model": "tiny-multimodal", "n_layers": 1}
KINDS = {
    "layers": {"weak": VISION, "ensemble": {"methods": ["layers"], "layer_range": [1, 2]}},
    "pool": {"weak": [VISION, MULTIMODAL], "ensemble": {"methods": ["independent"]}},
    "multimodal": {"weak": MULTIMODAL, "ensemble": {"methods": ["independent"]}},
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Is the picture bright? Noise makes it hard."""
    folder, rng, rows = tmp_path_factory.mktemp("pictures"), random.Random(0), []
    for number in range(450):
        is_bright, noise = rng.random() < 0.5, rng.random()
        grey = bytes(min(255, max(0, round((170 if is_bright else 90) + rng.gauss(0, 150 * noise)))) for _ in range(64))
        Image.frombytes("L", (8, 8), grey).save(folder / f"{number}.png")
        rows.append({"id": f"p{number}", "image": f"{number}.png", "answer": "yes" if is_bright else "no"})
        rows[-1]["hardness"] = noise
    return write_jsonl(folder / "rows.jsonl", rows)


@pytest.fixture(
    scope="module",
    params=["layers", *(pytest.param(kind, marks=pytest.mark.families) for kind in ("pool", "multimodal"))],
)
def finished(request, pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    prompt = "Is ![]({{ image }}) bright?" if request.param == "multimodal" else "![]({{ image }})"
    task = {"prompt": prompt, "path": str(pictures)}
    changes = {"seeds": [0], "strong": MULTIMODAL if request.param == "multimodal" else VISION, "task": task}
    tree = tiny_tree(pictures) | {"weak": None}
    tree = merged(tree, changes | {"students": {"recipes": [{}]}, "ensemble": {"n_rounds": 2}})
    tree = merged(tree, {"ensemble": KINDS[request.param]["ensemble"]}) | {"weak": KINDS[request.param]["weak"]}
    run(parse_config(tree), folder / "run", store_root=folder / "store")
    return folder, prompt


def own_labels(folder):
    """The run's own labels of its unlabelled examples, of the ensemble that it exported."""
    store, record = Store(folder / "store"), read_ensemble_record(folder / "run")
    made = json.loads((folder / "run" / "stages" / "labels.json").read_text())["artifacts"]
    artifacts = filter(None, (store.load("labels", each["key"]) for each in made))
    return next(each for each in artifacts if tuple(each.record["expert_ids"]) == record.expert_ids)


def test_a_file_is_labelled_as_the_run_labelled_its_own_examples(finished, pictures, tmp_path, monkeypatch, capsys):
    folder, prompt = finished
    own = own_labels(folder)
    wanted = {each: place for place, each in enumerate(own.record["ids"])}
    rows = [row for line in pictures.read_text().splitlines() if (row := json.loads(line))["id"] in wanted]
    (pictures.parent / "broken.png").write_text("no picture")
    bad = [{"id": "absent", "image": "absent.png"}, {"id": "broken", "image": "broken.png"}]
    source = write_jsonl(pictures.parent / f"{folder.name}.jsonl", [*bad, *rows])
    columns = "id,answer,probability,filled_prompt"
    asked = ["label", "--ensemble", folder / "run", "--input", source, "--id", "id", "--columns", columns]
    monkeypatch.setattr("sys.argv", ["ensemw2s", *map(str, asked), "--output", str(tmp_path / "labels")])
    assert run_command() == 0
    labels = [
        json.loads(line) for file in (tmp_path / "labels").glob("labels-*") for line in file.read_text().splitlines()
    ]
    assert {each["id"] for each in labels} == wanted.keys()
    soft = torch.tensor([list(each["probability"].values()) for each in labels])
    torch.testing.assert_close(soft, own.tensors["soft"][[wanted[each["id"]] for each in labels]], atol=1e-5, rtol=0)
    errors = next((tmp_path / "labels").glob("errors-*")).read_text()
    assert "absent.png cannot be read" in errors
    assert "broken.png is no picture that can be opened" in errors
    # Batched as alone, and however many there are.
    labeller = open_labeller(folder / "run")
    assert isinstance(labeller, ClassLabeller)
    for each in labels[:3]:
        (alone,) = labeller.label([each["filled_prompt"]])
        assert alone["answer"] == each["answer"]
        assert alone["probability"] == pytest.approx(each["probability"], abs=1e-5)
    # A process that only reads for others knows the same lengths and the same faults.
    prompts = [row.prompt for row in prompts_of(str(source), prompt) if row.prompt]
    reader = open_reader(folder / "run")
    assert (reader.fingerprint, reader.sizes(prompts)) == (labeller.fingerprint, labeller.sizes(prompts))
    with pytest.raises(ModelError, match="not opened for requests"):
        open_answerers(folder / "run" / "ensemble")
