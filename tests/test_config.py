"""Settings: what is refused, with which mend, and when two are the same."""

import json

import pytest
from pydantic import ValidationError

from ensemw2s.config import ExperimentConfig, canonical_hash, load_config, parse_config
from ensemw2s.config.task import task_class
from ensemw2s.errors import ConfigError
from ensemw2s.tables import TASKS

FILES = {"name": "files", "path": "a"}


def test_the_hash_is_of_the_settings_not_of_their_spelling(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("seeds: [0, 1, 2]\nensemble:\n  shrinkage: 1\n")
    assert canonical_hash(load_config(path)) == canonical_hash(ExperimentConfig())
    assert canonical_hash(load_config(path, ["seeds=[0, 1]"])) != canonical_hash(ExperimentConfig())


def test_the_order_of_the_keys_does_not_change_the_hash():
    one = {"split": {"seed": 1, "n_id_test": 7}, "name": "x"}
    other = {"name": "x", "split": {"n_id_test": 7, "seed": 1}}
    assert canonical_hash(one) == canonical_hash(other) != canonical_hash(one | {"name": "y"})
    assert canonical_hash(parse_config(one)) == canonical_hash(parse_config(other))


def test_overrides_apply_in_order_and_reach_nested_settings():
    config = load_config(None, ["ensemble.n_rounds=3", "ensemble.n_rounds=4", "weak.n_layers=null", "seeds=[7]"])
    assert (config.ensemble.n_rounds, config.weak.n_layers, config.seeds) == (4, None, (7,))


def test_a_pool_is_a_list_of_models_or_names_and_one_is_the_model_itself():
    config = parse_config({"weak": ["tf-idf", {"model": "tiny", "n_layers": 2}, "tiny"]})
    assert [(m.model, m.n_layers) for m in config.pool] == [("tf-idf", None), ("tiny", 2), ("tiny", None)]
    assert config.pool_names == ("tf-idf", "tiny[1]", "tiny[2]")
    assert (
        parse_config({"weak": ["tiny"]}) == parse_config({"weak": "tiny"}) == parse_config({"weak": {"model": "tiny"}})
    )
    assert parse_config(config.model_dump(mode="json")) == config


def test_an_override_reaches_a_member_of_a_pool(tmp_path):
    file = tmp_path / "pool.yaml"
    file.write_text("weak: [tf-idf, {model: tiny}]")
    assert load_config(file, ["weak.1.n_layers=3"]).pool[1].n_layers == 3
    assert load_config(file, ["weak.0=tiny"]).pool[0].model == "tiny"
    for wrong in ("weak.2.n_layers=3", "weak.n_layers=3"):
        with pytest.raises(ConfigError, match="give 0 to 1"):
            load_config(file, [wrong])


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
        ({"weak": []}, ["weak", "the list is empty"]),
        ({"weak": [{"model": "tiny"}, {"n_layer": 2}]}, ["weak.1.n_layer", "did you mean 'n_layers'"]),
        ({"weak": {"model": "tf-idf", "n_layers": 2}}, ["weak", "n_layers is a setting of a language model"]),
        ({"strong": {"model": "tf-idf"}}, ["strong.model", "give a pretrained model"]),
        (
            {"task": {"name": "geo-countries"}, "weak": ["tiny", "tf-idf"], "strong": {"adapter": "lora"}},
            ["weak: geo-countries is answered in words", "tf-idf cannot write"],
        ),
        ({"weak": ["tf-idf", "tiny"], "difficulty": {"source": "margin"}}, ["weak.0", "put a pretrained model first"]),
        ({"weak": ["tiny", "tf-idf"], "ensemble": {"prior": "pretrained"}}, ["ensemble.prior", "`weak` is a pool"]),
        (
            {
                "weak": ["tiny", {"adapter": "lora"}],
                "expert_training": {"solver": "lbfgs"},
                "students": {"recipes": [{}]},
            },
            ["expert_training.solver", "weak.1.adapter: head"],
        ),
        ({"seeds": [1, 1]}, ["seeds must be distinct"]),
        ({"seeds": []}, ["seeds", "at least 1"]),
        ({"ensemble": {"methods": []}}, ["ensemble.methods", "at least 1"]),
        ({"ensemble": {"methods": ["single", "single"]}}, ["lists a method twice: ['single', 'single']"]),
        (
            {
                "task": {"name": "geo-countries"},
                "weak": {"adapter": "lora"},
                "strong": {"adapter": "lora"},
                "student_training": {"class_weights": "balanced"},
            },
            ["student_training.class_weights", "geo-countries is answered in words"],
        ),
        ({"student_training": {"max_grad_norm": float("inf")}}, ["student_training.max_grad_norm", "finite", "inf"]),
        (
            {"task": {"name": "files", "path": "a", "choices": [False, True]}},
            ["task.choices.0", "got False", "bare yes, no", "quotes"],
        ),
        ({"seeds": [0.5], "name": 3}, ["seeds.0", "0.5", "name", "got 3"]),
        ({"ensemble": {"prior": 1.5}}, ["ensemble.prior", "1.5"]),
        ({"split": {"n_easy_train": "many"}}, ["split.n_easy_train", "'many'"]),
        ({"split": {"n_easy_pool": 10}}, ["exceeds n_easy_pool (10)"]),
        ({"split": {"n_hard_pool": 10}}, ["exceeds n_hard_pool (10)"]),
        ({"split": {"easy_below": 0.8, "hard_above": 0.2}}, ["easy_below (0.8) must not exceed hard_above (0.2)"]),
        ({"ensemble": {"layer_range": [3, 2]}}, ["layer_range must not descend, got [3, 2]"]),
        ({"weak": {"n_layers": 2}, "ensemble": {"layer_range": [1, 3]}}, ["layer_range [1, 3]", "2 layers"]),
        ({"ensemble": {"feature_share": 0}}, ["ensemble.feature_share", "greater than 0"]),
        ({"weak": {"adapter": "all"}}, ["weak.adapter", "'full'"]),
        ({"strong": {"adapter": "top", "n_layers": 2, "top_layers": 2}}, ["strong.top_layers (2)"]),
        ({"weak": {"trust_remote_code_from": "someone/else"}}, ["trust_remote_code_from must name the model itself"]),
        ({"task": {"name": "files"}}, ["task.path: this setting must be given"]),
        ({"task": {"name": "files", "path": ""}}, ["task.path", "at least 1 character"]),
        ({"task": {"name": "geo"}}, ["task: there is no task 'geo'; task.name is one of geo-facts", "files"]),
        ({"task": {"name": ["files"]}}, ["task: there is no task ['files']"]),
        ({"task": {"path": "a.jsonl"}}, ["task.path: no such setting of the task geo-facts", "max_per_country"]),
        ({"task": {"name": "gsm8k", "path": "a", "work": 1}}, ["task.work", "did you mean 'worked'"]),
        ({"task": {"name": "gsm8k", "path": "a", "worked": "x"}}, ["task.worked: input should be", "got 'x'"]),
        ({"task": FILES | {"test": "b"}}, ["task: test is given without unlabelled"]),
        ({"task": FILES | {"unlabelled_answers": "sealed"}}, ["task: unlabelled_answers: sealed needs the file"]),
        ({"task": FILES | {"ordered": True}}, ["task: ordered: true needs choices, the classes from least to most"]),
        ({"task": "geo-facts"}, ["task: input should be a valid dictionary", "got 'geo-facts'"]),
        ({"students": {"recipes": [{}, {}]}}, ["lists a recipe twice"]),
        (
            {"student_training": {"schedule": "cosine"}},
            ["student_training: schedule: cosine", "patience (5)", "set patience: null, or schedule: constant"],
        ),
    ],
)
def test_every_bad_setting_is_named_with_its_value_and_mend(tree, words):
    with pytest.raises(ConfigError) as caught:
        parse_config(tree)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["no such file", "check the path of the configuration"]),
        (b"a: 1\nname: \xff", ["line 2: not UTF-8", "save the file"]),
        (b"a: [1\nb: 2", ["not valid YAML", "line 2", "mend that line"]),
        (b"name: 2024-13-45", ["not valid YAML", "month must be in 1..12"]),
        (b"- 1", ["a mapping of settings, got list", "key: value"]),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(tmp_path, content, words):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in [str(path), *words]), message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seeds", ["--set seeds:", "KEY=VALUE", "for example"]),
        ("=3", ["--set =3:", "KEY=VALUE"]),
        ("name.x=3", ["'name' is a single value"]),
        ("seeds=[1", ["--set seeds=[1: not valid YAML", "quote it"]),
        ("name=2024-13-45", ["not valid YAML", "quote it"]),
        ("ensemble.n_rond=3", ["ensemble.n_rond", "did you mean 'n_rounds'"]),
    ],
)
def test_a_bad_override_is_quoted_back_with_its_mend(tmp_path, override, words):
    path = tmp_path / "mine.yaml"
    path.write_text("name: x\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, [override])
    assert all(word in str(caught.value) for word in words), caught.value


def test_an_empty_file_is_the_default_configuration(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert load_config(path) == load_config() == ExperimentConfig()


def test_a_configuration_that_was_written_as_json_is_read_as_the_same_one():
    task = {"name": "files", "path": "a.jsonl", "options": ["o"], "answer_form": "free"}
    changes = {"weak": {"adapter": "top"}, "strong": {"adapter": "top"}, "students": {"recipes": [{"labels": "hard"}]}}
    for config in (ExperimentConfig(), parse_config({"task": task} | changes)):
        assert parse_config(json.loads(json.dumps(config.model_dump(mode="json")))) == config
        assert parse_config(config.model_dump()) == config
    assert config.model_dump()["task"]["options"] == ("o",)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_answers_to_its_own_name(name):
    assert task_class({"name": name}).model_fields["name"].default == name


def test_a_piece_that_is_no_task_is_refused_with_its_name(monkeypatch):
    monkeypatch.setitem(TASKS, "mine", dict)
    with pytest.raises(ConfigError, match=r"ensemw2s\.tasks: 'mine' is <class 'dict'>, no subclass of .*TaskSettings"):
        parse_config({"task": {"name": "mine"}})
