"""What the README promises of a whole run, on a model of a few thousand weights."""

import json
import shutil

import pytest
import torch
import yaml

from ensemw2s.config import canonical_hash, parse_config
from ensemw2s.data.seal import SealedLabels
from ensemw2s.ensemble.learners import trunk
from ensemw2s.errors import ModelError, RunError, SealError
from ensemw2s.export.classifier import load_student
from ensemw2s.export.student import answer_prompts
from ensemw2s.pipeline import run as runner
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import read_results
from ensemw2s.pipeline.run_log import read_events
from ensemw2s.results import Timing
from tiny_run import comparison_rows, merged, other_models, write_jsonl


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def finished(place, tiny_config):
    """One finished run, shared by the tests that only read it."""
    folder = place / "finished"
    if not (folder / "results.json").exists():
        run(tiny_config(), folder, store_root=place / "store")
    return folder


STAGES = ("experts", "labels", "students")


def computed(folder) -> dict[str, int]:
    timing = Timing.model_validate_json((folder / "timing.json").read_text())
    return {s.stage: s.computed for s in timing.stages}


def artifacts(folder, stage: str) -> list[str]:
    return [a["key"] for a in json.loads((folder / "stages" / f"{stage}.json").read_text())["artifacts"]]


def test_a_run_leaves_everything_a_user_needs(finished):
    for name in ("config.yaml", "results.json", "timing.json", "events.jsonl", "report.html", "ensemble/ensemble.json"):
        assert (finished / name).stat().st_size > 0
    results = read_results(finished)
    keys = {r.key for r in results.rows}
    assert {"best_single", "single_long", "single", "independent", "bagging", "boosting"} <= keys
    assert {"strong_on_easy", "self_training:xent-soft", "student:boosting:xent-soft", "ceiling"} <= keys
    assert any(k.endswith("+easy") for k in keys)
    predictor = load_student(finished / "student")
    assert predictor.log_probs(["Is 90 above 3?"]).exp().sum() == pytest.approx(1.0, abs=1e-5)


def test_what_an_evidential_student_says_is_the_same_in_the_run_and_from_its_folder(place, tiny_config, monkeypatch):
    recipes = [{"loss": "evidential", "with_easy": True, "curriculum": "confidence", "easy_weight": 2.0}]
    folder, store = place / "evidential", place / "store"
    changes = {"seeds": [0], "ensemble": {"n_rounds": 2, "methods": ["bagging"]}, "students": {"recipes": recipes}}
    exact = {"dtype": "float32"}  # the folder is; a machine may run the trunk in bfloat16
    config = tiny_config(weak=exact, strong=exact, **changes)
    # Whatever is best on so few examples: the evidential student is what this is about.
    student = f"student:bagging:{config.students.recipes[0].name}"
    monkeypatch.setattr(
        "ensemw2s.evaluation.evaluate.recommended_row", lambda rows, *_: next(r for r in rows if r.key == student)
    )
    run(config, folder, store_root=store)
    before = (folder / "results.json").read_bytes()
    kept = [tensors for _, tensors in artifacts_of(folder, store, "students")]
    split = runner.prepare(config, runner.Store(store), lambda model, n: None).split
    draw = split.draw(0)
    prompts = [split.examples[i].prompt for i in draw.easy_val.tolist()]
    said = load_student(folder / "student")
    assert said.link == "dirichlet-softplus"
    found = said.log_probs(prompts)
    n_hard = len(draw.hard_unlabelled)  # these come first in what a student is asked
    on_val = [tensors["log_probs"][n_hard : n_hard + len(prompts)] for tensors in kept]
    distances = [float((each.exp() - found.exp()).abs().max()) for each in on_val if len(each) == len(prompts)]
    assert min(distances) < 1e-5
    assert "a = 1 + softplus(logits), not their softmax" in (folder / "student" / "README.md").read_text()
    [answer] = answer_prompts(folder / "student", prompts[:1])
    assert list(answer["probability"].values()) == pytest.approx(found[0].exp().tolist(), abs=1e-5)
    run(config, folder, store_root=store)
    assert (folder / "results.json").read_bytes() == before


def test_a_second_call_computes_nothing_and_changes_no_figure(finished, place, tiny_config):
    before = (finished / "results.json").read_bytes()
    (finished / "timing.json").unlink()
    run(tiny_config(), finished, store_root=place / "store")
    assert sum(computed(finished).values()) == 0
    assert (finished / "results.json").read_bytes() == before


def test_a_fresh_store_ends_in_the_same_results(finished, place, tiny_config):
    run(tiny_config(), place / "again", store_root=place / "other-store")
    assert (place / "again" / "results.json").read_bytes() == (finished / "results.json").read_bytes()


def test_a_new_student_recipe_retrains_no_expert_and_a_new_seed_reads_no_text(finished, place, tiny_config):
    config = tiny_config(students={"recipes": [{}, {"labels": "hard"}]})
    run(config, place / "recipe", store_root=place / "store")
    counts = computed(place / "recipe")
    assert counts["experts"] == 0
    assert counts["students"] == 2 * 5  # two seeds, five teachers, one new recipe
    run(tiny_config(seeds=[7]), place / "seed", store_root=place / "store")
    timing = Timing.model_validate_json((place / "seed" / "timing.json").read_text())
    assert sum(timing.tokens_read.values()) == 0
    assert computed(place / "seed")["experts"] > 0


def test_an_expert_is_evaluated_once_per_example_however_many_sizes_are_swept(place, tiny_config, monkeypatch):
    rows_read: list[int] = []
    plain = trunk.predict

    def counted(module, inputs, rows, **settings):
        rows_read.append(len(rows))
        return plain(module, inputs, rows, **settings)

    monkeypatch.setattr(trunk, "predict", counted)
    config = tiny_config(seeds=[0], ensemble={"n_rounds": 10, "methods": ["independent"]})
    results = run(config, place / "sweep", store_root=place / "sweep-store")
    assert len(results.ensembles[0].rounds) == 10
    n_examples = sum(results.task.sizes[p] for p in ("easy_pool", "hard_pool", "id_test", "ood_test"))
    # Ten members and the long expert; a sweep that evaluates each ensemble anew would take 55 passes.
    assert rows_read == [n_examples] * 11


def test_the_first_expert_of_single_independent_and_boosting_is_one_artifact(finished):
    keys = artifacts(finished, "experts")
    per_seed = len(keys) // 2
    assert per_seed == 1 + 3 + 3 + 3 + 1
    assert keys[0] == keys[1] == keys[7]
    assert len(set(keys[:per_seed])) == per_seed - 2


def artifacts_of(folder, store, stage: str) -> list[tuple[str, dict[str, torch.Tensor]]]:
    kept = runner.Store(store)
    return [(key, kept.load(stage, key).tensors) for key in artifacts(folder, stage)]


def are_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("source", "models"), [("column", ""), ("entropy", ""), ("column", "mixture"), ("column", "vectors")]
)
def test_flipping_every_sealed_label_changes_no_label_no_setting_and_no_student(source, models, tmp_path, tiny_config):
    rows, other = comparison_rows(), {"yes": "no", "no": "yes"}
    file = write_jsonl(tmp_path / "flip.jsonl", rows)
    changes = {
        "seeds": [0],
        "task": {"path": str(file)},
        "difficulty": {"source": source, "n_labelled": 60, "n_folds": 3},
        "ensemble": {"n_rounds": 2},
        "students": {
            "recipes": [
                {},
                {"loss": "logconf", "with_easy": True},
                {"loss": "evidential"},
                {"curriculum": "confidence", "weigh_by": "confidence"},
            ]
        },
    }
    config = tiny_config(**merged(changes, other_models(models, tmp_path)))
    # A store for each: a stage that read a sealed label without naming it in its key would not be hidden by a reuse.
    stores = [tmp_path / f"store-{i}" for i in range(2)]
    folders = [tmp_path / f"run-{i}" for i in range(2)]
    plain = run(config, folders[0], store_root=stores[0])
    split = runner.prepare(config, runner.Store(stores[0]), lambda model, n: None).split
    sealed = {e.id for e in split.examples if e.answer is None}
    assert len(sealed) == sum(len(labels) for labels in split.sealed.values())
    write_jsonl(file, [r | {"answer": other[r["answer"]]} if r["id"] in sealed else r for r in rows])
    flipped = run(config, folders[1], store_root=stores[1])

    # Experts with their evaluation of every example, labels, and students with theirs: to the last bit.
    for stage in ("experts", "labels", "students"):
        found = [artifacts_of(*where, stage) for where in zip(folders, stores, strict=True)]
        is_same = [(a[0] == b[0], are_same(a[1], b[1])) for a, b in zip(*found, strict=True)]
        n_ceilings = 1 if stage == "students" else 0
        assert is_same == [(True, True)] * (len(is_same) - n_ceilings) + [(False, False)] * n_ceilings
    chosen = [[(e.selected, e.temperature, e.prior_error) for e in r.ensembles] for r in (plain, flipped)]
    assert chosen[0] == chosen[1]
    assert flipped.recommendation.row == plain.recommendation.row
    # And the test can fail: the figures on the sealed parts do turn round.
    accuracy = [r.row("strong_on_easy").parts["ood_test"]["accuracy"].interval.mean for r in (plain, flipped)]
    assert accuracy[0] == pytest.approx(1 - accuracy[1])


def test_the_run_opens_the_seals_for_the_ceiling_and_the_evaluation_only(place, tiny_config, monkeypatch):
    asked: list[tuple[str, str]] = []
    plain = SealedLabels.open

    def spied(self, purpose, rows=None):
        asked.append((self.part, purpose))
        return plain(self, purpose, rows)

    monkeypatch.setattr(SealedLabels, "open", spied)
    run(tiny_config(seeds=[0]), place / "seals", store_root=place / "store")
    tests = [("id_test", "evaluation"), ("ood_test", "evaluation")]
    assert asked == [("hard_pool", "ceiling"), *tests, ("hard_pool", "evaluation")]  # the last: people's curves
    with pytest.raises(SealError, match="easy validation data"):
        SealedLabels("hard_pool", torch.tensor([0, 1])).open("student")


def test_damaged_artifacts_are_named_and_made_again(finished, place, tiny_config, capsys):
    store = place / "damaged-store"
    shutil.copytree(place / "store", store)
    broken = {stage: runner.Store(store).path(stage, artifacts(finished, stage)[1]) for stage in STAGES}
    truncated, flipped = broken["experts"] / "tensors.safetensors", broken["students"] / "tensors.safetensors"
    truncated.write_bytes(truncated.read_bytes()[:-9])
    data = bytearray(flipped.read_bytes())
    data[-1] ^= 1
    flipped.write_bytes(data)
    (broken["labels"] / "manifest.json").unlink()
    run(tiny_config(), place / "damaged", store_root=store)
    said = capsys.readouterr().err.replace("\n", "")
    assert all(said.count(f"{folder}: damaged") == 1 for folder in broken.values())
    assert {stage: computed(place / "damaged")[stage] for stage in STAGES} == dict.fromkeys(STAGES, 1)
    assert (place / "damaged" / "results.json").read_bytes() == (finished / "results.json").read_bytes()


def test_a_folder_of_another_configuration_is_refused(finished, place, tiny_config):
    with pytest.raises(RunError, match="another configuration"):
        run(tiny_config(seeds=[5]), finished, store_root=place / "store")
    tree = yaml.safe_load((finished / "config.yaml").read_text())
    assert tree["_run"]["config_hash"] == canonical_hash(tiny_config())


def test_a_check_that_fails_once_work_has_begun_leaves_the_folder_to_the_mended_configuration(place, tiny_config):
    folder, mended = place / "mended", tiny_config(seeds=[0], ensemble={"methods": ["boosting"], "n_rounds": 2})
    with pytest.raises(ModelError, match="nothing to boost"):
        run(
            tiny_config(seeds=[0], ensemble={"methods": ["boosting"], "prior": 0.01}),
            folder,
            store_root=place / "store",
        )
    assert not (folder / "config.yaml").exists()
    run(mended, folder, store_root=place / "store")
    assert yaml.safe_load((folder / "config.yaml").read_text())["_run"]["config_hash"] == canonical_hash(mended)
    assert [event["event"] for event in read_events(folder)].count("refused") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"weak": {"adapter": "top", "n_layers": 3, "top_layers": 1}, "strong": {"adapter": "lora", "lora_rank": 2}},
        {"weak": {"adapter": "full", "n_layers": 1}, "strong": {"adapter": "full", "n_layers": 2}},
        {
            "weak": {"head_hidden": 8},
            "ensemble": {"error_source": "folds", "reweight": "resample", "vote": "log", "prior": 0.9},
        },
        {"ensemble": {"methods": ["single", "boosting"], "prior": 0.6, "vote": "hard", "expert_weights": "equal"}},
        {"difficulty": {"source": "entropy", "n_labelled": 60, "n_folds": 3}},
        {"difficulty": {"source": "p_true", "n_folds": 3}},
    ],
    ids=["top and lora", "every weight", "mlp, folds, resample", "subset of methods", "entropy", "p_true"],
)
def test_every_way_to_configure_a_run_ends_in_results(place, tiny_config, changes):
    name = canonical_hash(changes)[:8]
    base = tiny_config(seeds=[0], expert_training={"epochs": 6}, ensemble={"n_rounds": 2})
    config = parse_config(merged(base.model_dump(mode="json"), changes))
    results = run(config, place / name, store_root=place / "store")
    assert results.task.split_uses_labels == (config.difficulty.source == "p_true")
    assert results.recommendation.headline.startswith("Use ")
    shutil.rmtree(place / name)


def test_where_activations_are_kept_changes_no_figure(place, tiny_config):
    figures = []
    for where in ("disk", "memory", "off"):
        config = tiny_config(seeds=[0], ensemble={"methods": ["single"]}, cache={"trunk_cache": where})
        results = run(config, place / f"cache-{where}", store_root=place / f"cache-{where}-store")
        figures.append([(r.key, r.parts["ood_test"]["accuracy"].per_seed) for r in results.rows])
    assert figures[0] == figures[1] == figures[2]
