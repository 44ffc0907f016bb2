"""Settings: what is refused, with which mend, and when two are the same."""

import pytest
from pydantic import ValidationError

from ensemw2s.config import ExperimentConfig, canonical_hash, load_config, parse_config
from ensemw2s.errors import ConfigError


def test_the_hash_is_of_the_settings_not_of_their_spelling(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("seeds: [0, 1, 2]\nensemble:\n  shrinkage: 1\n")
    assert canonical_hash(load_config(path)) == canonical_hash(ExperimentConfig())
    assert canonical_hash(load_config(path, ["seeds=[0, 1]"])) != canonical_hash(ExperimentConfig())


def test_overrides_apply_in_order_and_reach_nested_settings():
    config = load_config(None, ["ensemble.n_rounds=3", "ensemble.n_rounds=4", "weak.n_layers=null", "seeds=[7]"])
    assert (config.ensemble.n_rounds, config.weak.n_layers, config.seeds) == (4, None, (7,))


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        ExperimentConfig().seeds = (1,)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"ensembel": {}}, ["ensembel", "did you mean 'ensemble'"]),
        ({"ensemble": {"n_round": 3}}, ["ensemble.n_round", "did you mean 'n_rounds'"]),
        ({"students": {"recipes": [{"los": "xent"}]}}, ["students.recipes.0.los", "did you mean 'loss'"]),
        ({"weak": {"zzzzqq": 1}}, ["weak.zzzzqq", "valid settings there", "n_layers"]),
        ({"seeds": [1, 1]}, ["seeds must be distinct"]),
        ({"seeds": []}, ["seeds", "at least 1"]),
        ({"ensemble": {"prior": 1.5}}, ["ensemble.prior", "1.5"]),
        ({"split": {"n_easy_train": "many"}}, ["split.n_easy_train", "'many'"]),
        ({"split": {"n_easy_pool": 10}}, ["exceeds n_easy_pool (10)"]),
        ({"split": {"n_hard_pool": 10}}, ["exceeds n_hard_pool (10)"]),
        ({"split": {"easy_below": 0.8, "hard_above": 0.2}}, ["easy_below (0.8) must not exceed hard_above (0.2)"]),
        ({"weak": {"adapter": "lora"}}, ["weak.adapter", "for the student"]),
        ({"strong": {"adapter": "top", "n_layers": 2, "top_layers": 2}}, ["strong.top_layers (2)"]),
        ({"weak": {"trust_remote_code_from": "someone/else"}}, ["trust_remote_code_from must name the model itself"]),
        ({"task": {"name": "files"}}, ["path is required for the task 'files'"]),
        ({"students": {"recipes": [{}, {}]}}, ["lists a recipe twice"]),
    ],
)
def test_every_bad_setting_is_named_with_its_value_and_mend(tree, words):
    with pytest.raises(ConfigError) as caught:
        parse_config(tree)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
