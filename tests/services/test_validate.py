"""`ensemw2s validate`: models that are not there, and experiments that would say little."""

from types import SimpleNamespace

import pytest
from huggingface_hub.errors import RepositoryNotFoundError
from scipy import stats

from ensemw2s.config import parse_config
from ensemw2s.errors import ModelError
from ensemw2s.models.loading import hub
from ensemw2s.models.loading.tiny import make_tiny
from ensemw2s.services.onboarding.advice import REACH, advice
from ensemw2s.services.onboarding.models import find_models
from tiny_run import merged, tiny_tree

GOOD = {
    "seeds": [0, 1, 2, 3, 4],
    "expert_training": {"solver": "auto", "schedule": "constant", "dropout": 0.0, "epochs": 100},
    "student_training": {"solver": "auto", "schedule": "constant", "dropout": 0.0, "epochs": 100},
}


def configured(task_file, **changes):
    return parse_config(merged(merged(tiny_tree(task_file), GOOD), changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"weak": {"n_layers": 4}}, ["weak is no weaker than strong"]),
        ({"weak": {"n_layers": 4}, "strong": {"n_layers": 3}}, ["weak is no weaker than strong"]),
        ({"weak": {"n_layers": None}, "strong": {"n_layers": None, "max_length": 64}}, ["weak is no weaker"]),
        ({"weak": {"n_layers": 4, "adapter": "top", "top_layers": 1}}, []),
        ({"ensemble": {"methods": ["single"]}}, ["`single` alone"]),
        ({"ensemble": {"n_rounds": 1, "methods": ["single", "bagging"]}}, ["n_rounds is 1: the ensembles (bagging)"]),
        ({"ensemble": {"select_by": 1}}, ["select_by is 1"]),
        ({"seeds": [0]}, ["seeds has one"]),
        ({"seeds": [0, 1]}, ["seeds has 2: a 95% interval over them reaches 12.7 standard errors", "over five 2.8"]),
        (
            {"expert_training": {"solver": "adamw", "epochs": 4}},
            ["expert_training: 4 epochs of 60 examples in batches of 32 are at most 8 optimiser steps"],
        ),
        ({"student_training": {"solver": "adamw", "epochs": 33}}, ["student_training: 33 epochs of 70 examples"]),
        ({"student_training": {"solver": "adamw", "epochs": 34}}, []),
    ],
)
def test_what_would_say_little_is_named_and_nothing_else(task_file, changes, words):
    config = configured(task_file, **changes)
    found = advice(config, {name: model.n_layers or 4 for name, model in config.models})
    assert len(found) == (1 if words else 0), found
    assert all(word in found[0] for word in words)


def test_intervals_over_few_seeds_reach_as_far_as_students_t():
    assert {n: round(float(stats.t.ppf(0.975, n - 1)), 1) for n in REACH} == REACH


def test_a_member_of_a_pool_that_is_the_strong_model_is_named(task_file):
    tree = merged(tiny_tree(task_file), GOOD) | {"weak": ["tf-idf", {"model": "tiny", "n_layers": 4}, "tiny"]}
    (sentence,) = advice(parse_config(tree), {"weak.1": 3, "weak.2": 4, "strong": 4})
    assert sentence.startswith("weak.2 is no weaker than strong")


def test_models_on_this_machine_are_described_by_their_layers(task_file, tmp_path):
    folder = make_tiny(tmp_path / "model")
    found = find_models(configured(task_file, strong={"model": str(folder)}))
    assert found.described == {
        "weak": "tiny, first 2 of 4 layers, on this machine",
        "strong": f"{folder}, 4 layers, on this machine",
    }
    assert (found.layers, found.notes) == ({"weak": 2, "strong": 4}, ())
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        find_models(configured(task_file, strong={"model": str(folder)}))
    with pytest.raises(ModelError, match="n_layers is 9 but the checkpoint has 4 layers"):
        find_models(configured(task_file, strong={"n_layers": 9}))
    for name in (str(tmp_path / "nowhere"), "../nowhere", "a b"):
        with pytest.raises(ModelError, match=name.rpartition("/")[2]):
            find_models(configured(task_file, strong={"model": name}))


def test_what_the_hub_says_is_what_validate_says(task_file, monkeypatch):
    config = configured(task_file, strong={"model": "owner/name", "n_layers": None})

    def answer(files=None, error=None):
        def model_info(*_, **__):
            if error is not None:
                raise error
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=file) for file in files])

        monkeypatch.setattr(hub, "model_info", model_info)

    answer(["config.json", "model.safetensors"])
    assert find_models(config).described["strong"] == "owner/name, on the hub: `run` downloads it"
    answer(["config.json", "pytorch_model.bin"])
    with pytest.raises(ModelError, match=r"strong\.model: owner/name is neither .*no safetensors"):
        find_models(config)
    response = SimpleNamespace(headers={}, request=None)
    answer(error=RepositoryNotFoundError("there is no such repository", response=response))
    with pytest.raises(ModelError, match="no such repository"):
        find_models(config)
    answer(error=hub.HTTPError("no route"))
    assert "the hub does not answer" in find_models(config).notes[0]
