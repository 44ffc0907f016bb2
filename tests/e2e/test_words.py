"""A whole generation experiment on the tiny model, from the outside."""

import gc
import json
import weakref
from pathlib import Path

import pytest
import torch
import yaml
from test_kill import assert_nothing_lost, kills_of
from transformers import AutoModelForCausalLM, AutoTokenizer

from damage import fresh_copy
from ensemw2s.config import ModelConfig, parse_config
from ensemw2s.data.load import load_task
from ensemw2s.data.readers.load import read_rows
from ensemw2s.errors import ConfigError, ModelError, RunError
from ensemw2s.export.ensembles.labeller import open_labeller
from ensemw2s.export.student import answer_prompts
from ensemw2s.forms.generation.labelling.labels import right_texts, written_texts
from ensemw2s.forms.generation.prepare import AnswerModels
from ensemw2s.models.loading.anatomy import final_norm, layers_of, memory_of
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import read_results
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.pipeline.seeds.students import train_students
from ensemw2s.services.labelling.label_file import label_file
from ensemw2s.storage import checksums
from ensemw2s.storage.store import Store
from tiny_run import comparison_rows, merged, tiny_words_tree, write_jsonl


def config_of(task_file: Path, **changes: object):
    return parse_config(merged(tiny_words_tree(task_file), changes))


def keys_of(folder: Path, stage: str) -> list[str]:
    return [a["key"] for a in json.loads((folder / "stages" / f"{stage}.json").read_text())["artifacts"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("words")


@pytest.fixture(scope="module")
def finished(place, task_file):
    run(config_of(task_file, seeds=[0]), place / "run", store_root=place / "store")
    return place / "run"


def test_a_run_has_every_row_and_shows_what_was_written(finished):
    results = read_results(finished)
    keys = [r.key for r in results.rows]
    for teacher in ("single", "independent", "bagging", "boosting"):
        assert {teacher, f"student:{teacher}:xent-hard", f"student:{teacher}:xent-hard-weighed+easy"} <= set(keys)
    assert {
        "zero_shot",
        "nearest_answer",
        "best_single",
        "single_long",
        "strong_on_easy",
        "ceiling",
        "self_training:xent-hard",
    } <= set(keys)
    assert results.metric == "exact match"
    for row in results.rows:
        figures = set(row.parts["ood_test"])
        assert figures == (
            {"accuracy"} if row.key in ("zero_shot", "nearest_answer") else {"accuracy", "log_loss", "token_error"}
        )
    assert max(r.parts["id_test"]["accuracy"].interval.mean for r in results.rows) > 0.4
    for sample in results.samples:
        assert len(sample.members) == next(e for e in results.ensembles if e.method == "boosting").selected
        assert len(sample.probabilities) - len(sample.tokens) in (0, 1)
    assert results.token_weights[0].round == 0
    for weights in results.token_weights:
        assert sum(t.share for t in weights.tokens) <= 1 + 1e-9
    page = (finished / "report.html").read_text()
    assert 'id="samples"' in page
    assert "Exact match in percent" in page


def test_experts_and_students_of_which_every_weight_is_trained(place, task_file):
    full = {"adapter": "full", "n_layers": 2}
    training = {"epochs": 2, "learning_rate": 0.003}
    config = config_of(
        task_file,
        seeds=[0],
        weak=full | {"n_layers": 1},
        strong=full,
        expert_training=training,
        student_training=training,
        ensemble={"n_rounds": 2, "methods": ["single", "boosting"]},
        students={
            "recipes": [
                {"labels": "hard"},
                {"labels": "hard", "with_easy": True},
                {"labels": "hard", "with_easy": True, "easy_weight": 3, "curriculum": "difficulty"},
                {"labels": "hard", "curriculum": "confidence"},
            ]
        },
    )
    results = run(config, place / "full", store_root=place / "full-store")
    losses = [results.row(f"student:single:{r.name}").parts["ood_test"]["log_loss"] for r in config.students.recipes]
    assert len({loss.per_seed[0] for loss in losses}) == 4
    assert "all weights but embeddings trained" in results.strong
    prompts = [row["q"] for row in comparison_rows()[:3]]
    assert len(list(answer_prompts(place / "full" / "student", prompts))) == 3
    assert len(open_labeller(place / "full").label(prompts)) == 3


def test_boosting_reports_whether_an_expert_answers_to_its_weights(finished):
    trace = next(e for e in read_results(finished).ensembles if e.method == "boosting")
    assert trace.rounds[0].previous_error is None
    for r in trace.rounds[1:]:
        assert 0 <= r.previous_error <= 1
        assert r.effective_sample_size > 1


def test_the_student_is_a_plain_language_model_that_answers_as_in_the_run(finished, place, task_file):
    config = config_of(task_file, seeds=[0])
    results = read_results(finished)
    model = AutoModelForCausalLM.from_pretrained(finished / "student").eval()
    tokenizer = AutoTokenizer.from_pretrained(finished / "student")
    store = Store(place / "store")
    prepared = prepare(config, store, lambda model, n: None)
    work = SeedWork(prepared, store, results.recommendation.seed)
    for stage in (work.experts(), work.label(), train_students(work)):
        list(stage)
    role, rows = prepared.strong, torch.tensor(list(prepared.split.pools["id_test"]))
    voters = work.outcomes[results.row(results.recommendation.row).condition].voters
    names, fitted = prepared.names_of(rows), prepared.decoding
    decoding = fitted.model_copy(update={"stop": ()})
    written = role.write(role.load(voters.states), voters.weights, rows, decoding, names, "soft")
    prompts = [prepared.split.examples[row].prompt for row in rows.tolist()]
    predicted = list(answer_prompts(finished / "student", prompts))
    stopped = role.write(role.load(voters.states), voters.weights, rows, fitted, names, "soft")
    assert [p["answer"] for p in predicted] == [d.text.strip() for d in stopped]
    for row, one in zip(rows.tolist(), written, strict=True):
        prompt = torch.tensor([role.prompts[row]])
        with torch.no_grad():
            out = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=6)
        assert tokenizer.decode(out[0, prompt.shape[1] :], skip_special_tokens=True) == one.text
    # Teacher-forced exact match against what is written: token by token, so stricter than the compared texts
    # ("yes" and a line break instead of the end token), and never more generous.
    agree = []
    truth = prepared.split.sealed["ood_test"].open("evaluation")
    tests = torch.tensor(list(prepared.split.pools["ood_test"]))
    for outcome in (o for c, o in work.outcomes.items() if not c.is_trivial and o.voters.keys):
        exact = work.form.scoring.score(work.context, outcome.voters, "ood_test", truth).right
        by_text = right_texts(prepared, written_texts(prepared, work.context, outcome.voters, tests)[0], truth)
        assert not bool((exact & ~by_text).any())
        agree.append(float((exact == by_text).double().mean()))
    assert sum(agree) / len(agree) > 0.9


def test_flipping_every_sealed_answer_changes_no_label_and_no_student_but_the_ceiling(finished, place):
    rows, other = comparison_rows(), {"yes": "no", "no": "yes"}
    file = write_jsonl(place / "flip.jsonl", rows)
    # Whatever reads the unlabelled questions: samples, mixtures, the strong model's own answers, a second lesson.
    then = {"pairs_options": {"least": 0.3, "surely": 0.4}, "n_samples": 4, "temperature": 0.4, "epochs": 1}
    then |= {"denoise": "judges"}
    recipes = [
        {"labels": "soft", "soft_share": 0.5, "label_model": "majority"},
        {"labels": "hard", "selection": "consistent", "then": then},
    ]
    config = config_of(
        file,
        seeds=[0],
        ensemble={"methods": ["single", "boosting"]},
        generation={"samples": 2},
        judges={"kind": "trained", "n_judges": 2},
        students={"recipes": recipes},
    )
    found = []
    # The plain questions are those of `finished`, so its store has their experts; the flipped ones start from nothing.
    stores = {"plain": place / "store", "flipped": place / "flipped-store"}
    for name, store in stores.items():
        run(config, place / name, store_root=store)
        stages = {
            s: json.loads((place / name / "stages" / f"{s}.json").read_text())
            for s in ("experts", "labels", "students")
        }
        found.append({s: [(a["kind"], a["key"]) for a in stage["artifacts"]] for s, stage in stages.items()})
        if name == "plain":
            split = prepare(config, Store(store), lambda m, n: None).split
            sealed = {e.id for e in split.examples if e.answer is None}
            write_jsonl(file, [r | {"answer": other[r["answer"]]} if r["id"] in sealed else r for r in rows])
    plain, flipped = found
    assert plain["experts"] == flipped["experts"]
    assert plain["labels"] == flipped["labels"]
    assert plain["students"][:-1] == flipped["students"][:-1]
    assert plain["students"][-1] != flipped["students"][-1]
    assert {"samples", "pairs", "judges"} <= {kind for kind, _ in [*plain["labels"], *plain["students"]]}
    for kind, key in [*plain["experts"], *plain["labels"], *plain["students"][:-1]]:
        a, b = (Store(store).load(kind, key) for store in stores.values())
        runs = {"config_hash": None}  # of the run that wrote the labels: `finished` read another file
        assert a.record | runs == b.record | runs
        assert all(torch.equal(a.tensors[n], b.tensors[n]) for n in a.tensors)


@pytest.mark.parametrize("source", ["entropy", "p_true"])
def test_a_split_by_the_weak_models_own_uncertainty_reads_no_unlabelled_answer(source, tmp_path):
    # Answered by the first of two numbers, flipped by the second: yes and no would be a side of the split each.
    rows = [r | {"answer": r["q"].split()[1]} for r in comparison_rows()]
    rated = {"source": source, "n_labelled": 40, "n_folds": 2}
    found = []
    for name in ("plain", "flipped"):
        file = write_jsonl(tmp_path / "task.jsonl", rows)
        config = config_of(file, difficulty=rated, expert_training={"epochs": 1})
        found.append(prepare(config, Store(tmp_path / name), lambda model, n: None))
        labelled = {e.id for e in found[0].split.examples if e.answer is not None}
        kept = {e.id for e in found[0].split.examples}
        rows = [r | {"answer": r["q"].split()[-1]} if r["id"] in kept - labelled else r for r in rows]
    plain, flipped = found
    assert plain.task.difficulty_meaning == f"the weak model's cross-fitted {source}"
    assert plain.task.split_uses_labels == (source == "p_true")
    models = AnswerModels(config, Store(tmp_path / "plain"), lambda model, n: None)
    assert len(models.rated(load_task(config.task)).examples) == (500 if source == "p_true" else 460)
    assert (plain.split.examples == flipped.split.examples) == (source != "p_true")
    assert torch.equal(plain.split.difficulty, flipped.split.difficulty) == (source != "p_true")


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_kills_leave_the_results_of_an_undisturbed_run(tmp_path, task_file):
    path = tmp_path / "config.yaml"
    small = {
        "seeds": [0],
        "ensemble": {"n_rounds": 2, "methods": ["single", "boosting"]},
        "generation": {"samples": 2},
        "judges": {"kind": "likelihood"},
        "student_training": {"epochs": 6},
    }
    then = {"pairs": "tree", "pairs_options": {"least": 0.3}, "n_samples": 4, "temperature": 0.4, "epochs": 2}
    then |= {"denoise": "judges"}
    soft = {"labels": "soft", "label_model": "majority", "with_easy": True}
    recipes = [soft | {"then": then, "teachers": ["single"]}]
    small["students"] = {"recipes": recipes}
    path.write_text(yaml.safe_dump(merged(tiny_words_tree(task_file), small)))
    assert len(kills_of(path, tmp_path, 6)) == 6
    assert_nothing_lost(tmp_path)
    made = [json.loads(record.read_text()) for record in (tmp_path / "calm" / "store" / "pairs").rglob("record.json")]
    assert all(each["pairs"] for each in made), "no student had anything to learn in its second lesson"


def test_the_saved_ensemble_labels_a_file_as_the_run_labelled_its_own_questions(finished, place, task_file):
    labeller = open_labeller(finished)
    counts = label_file(
        labeller,
        str(task_file),
        place / "labels",
        prompt="{{ q }}",
        id_column="id",
        wanted=["id", "answer", "confidence", "members", "agreement", "tokens", "expert_ids"],
        shard_rows=100,
        console=None,
    )
    assert (counts.labelled, counts.failed) == (500, 0)
    found = {}
    for path in sorted((place / "labels").glob("labels-*.jsonl")):
        found |= {row["id"]: row for _, row in read_rows(str(path))}
    results = read_results(finished)
    record = json.loads((finished / "ensemble" / "ensemble.json").read_text())
    stored = [Store(place / "store").load("labels", key).record for key in keys_of(finished, "labels")]
    own = next(r for r in stored if r["expert_ids"] == record["expert_ids"])
    assert results.config_hash == record["config_hash"]
    for name, label in zip(own["ids"], own["labels"], strict=True):
        assert {k: found[name][k] for k in ("answer", "members", "agreement", "tokens")} == {
            k: label[k] for k in ("answer", "members", "agreement", "tokens")
        }
        assert found[name]["confidence"] == pytest.approx(label["confidence"], rel=1e-3)
        assert found[name]["expert_ids"] == record["expert_ids"]


def test_a_loaded_ensemble_keeps_nothing_but_embeddings_trunk_and_the_experts_own_layers(finished, monkeypatch):
    record = json.loads((finished / "ensemble" / "ensemble.json").read_text())
    n_own, n_experts = record["weak"]["top_layers"], len(record["expert_weights"])
    living: dict[str, weakref.ref[torch.Tensor]] = {}

    def load(config):
        backbone = load_backbone(config)
        living.update({name: weakref.ref(p) for name, p in backbone.model.named_parameters()})
        return backbone

    monkeypatch.setattr("ensemw2s.export.ensembles.saved_models.load_backbone", load)
    loaded = open_labeller(finished)
    gc.collect()
    gone = {name for name, parameter in living.items() if parameter() is None}
    replaced = tuple(f"layers.{i}." for i in range(record["weak"]["n_layers"] - n_own, record["weak"]["n_layers"]))
    assert gone == {name for name in living if name.startswith((*replaced, "norm."))}
    model = load_backbone(ModelConfig.model_validate(record["weak"])).model
    embeddings, *rest = (memory_of(p.parameters()) for p in (model.get_input_embeddings(), *layers_of(model)))
    own = sum(rest[-n_own:]) + memory_of(final_norm(model).parameters())
    assert loaded.members[0].n_bytes == embeddings + sum(rest[:-n_own]) + n_experts * own


def test_an_ensemble_of_classifiers_labels_too(place, tiny_config, task_file):
    run(tiny_config(seeds=[0]), place / "classes", store_root=place / "store")
    labeller = open_labeller(place / "classes")
    counts = label_file(
        labeller,
        str(task_file),
        place / "class-labels",
        prompt="{{ q }}",
        id_column="id",
        wanted=["answer", "probability", "members", "expert_ids", "expert_weights"],
        console=None,
    )
    assert counts.labelled == 500
    lines = (place / "class-labels" / "labels-00000.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert first["answer"] in ("yes", "no")
    assert sum(first["probability"].values()) == pytest.approx(1.0)
    assert len(first["members"]) == len(first["expert_ids"]) == len(first["expert_weights"])


def test_a_damaged_or_foreign_ensemble_is_refused(finished, tmp_path):
    with pytest.raises(RunError, match=r"no saved ensemble there \(ensemble.json is missing\)"):
        open_labeller(tmp_path)
    folder = fresh_copy(finished / "ensemble", tmp_path / "ensemble")
    record = json.loads((folder / "ensemble.json").read_text())
    (folder / "ensemble.json").write_text(json.dumps(record | {"weak_fingerprint": "0" * 64}))
    with pytest.raises(RunError, match=r"the saved ensemble is damaged \(ensemble\.json has"):
        open_labeller(folder)
    (folder / checksums.FILE).write_text(checksums.checksums_of(folder))
    with pytest.raises(ModelError, match=r"not the weights that the experts of .* were trained on"):
        open_labeller(folder)
    (folder / "experts.safetensors").write_bytes(b"torn")
    with pytest.raises(RunError, match="the saved ensemble is damaged"):
        open_labeller(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weak": {"adapter": "head"}}, "weak.adapter: files is answered in words; choose `top`, `lora` or `full`"),
        ({"ensemble": {"vote": "hard"}}, "ensemble.vote: next-token distributions are mixed"),
    ],
)
def test_settings_that_words_cannot_have_are_refused(task_file, changes, message):
    with pytest.raises(ConfigError, match=message):
        config_of(task_file, **changes)
