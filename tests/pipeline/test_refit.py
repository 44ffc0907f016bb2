"""`deliver.refit`: the exported student learns every label but the hard test's, and nothing is chosen again."""

import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from ensemw2s.config import parse_config
from ensemw2s.data.seal import SealedLabels
from ensemw2s.errors import SealError
from ensemw2s.export.classifier import load_student
from ensemw2s.export.student import answer_prompts
from ensemw2s.forms.classification.strong import students as class_students
from ensemw2s.models.trunk import pooled_features
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.seeds import refit
from ensemw2s.services.planning.plan import make_plan
from ensemw2s.train.checkpoint import Checkpointer
from tiny_run import comparison_rows, merged, tiny_tree, tiny_words_tree

LBFGS = {"solver": "lbfgs", "epochs": 1, "dropout": 0.0}
SMALL = {"seeds": [0], "expert_training": LBFGS, "student_training": LBFGS, "deliver": {"refit": True}}
SMALL |= {"students": {"recipes": [{"with_easy": True}, {}]}}
N_LABELS = 120 + 50


def config_of(task_file, **changes):
    return parse_config(merged(tiny_tree(task_file), SMALL | changes))


@pytest.fixture
def recommended(monkeypatch):
    """Makes the row of this key the recommended one."""

    def recommend(key: str) -> None:
        choose = lambda rows, *_: next(row for row in rows if row.key == key)  # noqa: E731
        monkeypatch.setattr("ensemw2s.evaluation.evaluate.recommended_row", choose)

    return recommend


@pytest.fixture
def trainings(monkeypatch):
    """Rows, settings and penalty of every training of a student, how it ended, and its module."""
    seen = []
    train = class_students.train

    def noted(module, inputs, supervision, loss, config, **rest):
        end = train(module, inputs, supervision, loss, config, **rest)
        seen.append((supervision.rows, config, rest["validation"], end.l2, end, module))
        return end

    monkeypatch.setattr(class_students, "train", noted)
    return seen


def state(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "student" / "model.safetensors")


def test_the_exported_head_is_the_optimum_on_all_labels_at_the_penalty_that_was_chosen_before(
    task_file, tmp_path, recommended, trainings, monkeypatch
):
    opened = []
    open_seal = SealedLabels.open
    monkeypatch.setattr(
        SealedLabels,
        "open",
        lambda self, purpose, *rest: (opened.append((purpose, self.part)), open_seal(self, purpose, *rest))[1],
    )
    recommended("strong_on_easy")
    results = run(config_of(task_file), tmp_path / "run", store_root=tmp_path / "store")
    assert [part for purpose, part in opened if purpose == "refit"] == ["id_test"]
    rows, config, validation, l2 = trainings[-1][:4]
    chosen = trainings[0][3]
    assert trainings[0][1].l2 == "auto"
    assert config.l2 == l2 == chosen
    assert validation is None
    assert rows.tolist() == [*range(120), *range(210, 260)]  # the easy pool and the ID test
    assert results.recommendation.refit_on == N_LABELS

    # An independent fit on the same features, of examples found by their text.
    student = load_student(tmp_path / "run" / "student")
    answers = {row["q"]: row["answer"] for row in comparison_rows()}
    prepared = refit_prompts(task_file)
    prompts = [prepared[row] for row in rows.tolist()]
    ids = student.backbone.tokenizer(prompts)["input_ids"]
    features = pooled_features(student.backbone, ids, [4], batch_tokens=512)[4].double()
    labels = [student.choices.index(answers[prompt]) for prompt in prompts]
    scale = features.std(0, correction=0)
    oracle = LogisticRegression(C=2 / (l2 * len(labels)), fit_intercept=False, tol=1e-10, max_iter=10_000)
    oracle.fit((features / scale).numpy(), labels)
    expected = torch.tensor(oracle.predict_log_proba((features / scale).numpy()))
    torch.testing.assert_close(student.log_probs(prompts).double(), expected, rtol=0, atol=2e-3)


def refit_prompts(task_file) -> list[str]:
    """Prompts of all rows of the split."""
    from ensemw2s.pipeline.prepare import check

    _, split = check(config_of(task_file))
    return [example.prompt for example in split.examples]


def test_the_figures_are_those_of_the_student_before(task_file, tmp_path, recommended):
    recommended("student:boosting:xent-soft+easy")
    found = {}
    for name, deliver in (("measured", {"refit": False}), ("refitted", {"refit": True})):
        found[name] = run(config_of(task_file, deliver=deliver), tmp_path / name, store_root=tmp_path / "store")
    measured, refitted = found["measured"], found["refitted"]
    assert measured.rows == refitted.rows
    assert measured.comparisons == refitted.comparisons
    assert measured.recommendation.refit_on is None
    assert refitted.recommendation == measured.recommendation.model_copy(update={"refit_on": N_LABELS})
    (note,) = set(refitted.notes) - set(measured.notes)
    assert note.startswith(f"The exported student was trained once more, on all {N_LABELS} labelled examples")
    assert note in (tmp_path / "refitted" / "report.html").read_text().replace("&#39;", "'")
    cards = [(tmp_path / name / "student" / "README.md").read_text() for name in found]
    assert ["trained once more, on all 170 labelled" in card for card in cards] == [False, True]
    assert not torch.equal(*(state(tmp_path / name)["score.weight"] for name in found))
    ensembles = [sorted((tmp_path / name / "ensemble").rglob("*.safetensors")) for name in found]
    assert ensembles[0]
    for ours, theirs in zip(*ensembles, strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
    # Again: everything is in the store.
    store = tmp_path / "store"
    before = sorted(store.glob("students/*/*/manifest.json"))
    run(config_of(task_file), tmp_path / "again", store_root=store)
    assert sorted(store.glob("students/*/*/manifest.json")) == before
    assert torch.equal(state(tmp_path / "again")["score.weight"], state(tmp_path / "refitted")["score.weight"])


def test_a_student_that_learns_no_labels_is_exported_as_it_was_measured(task_file, tmp_path, recommended, trainings):
    recommended("student:boosting:xent-soft")
    results = run(config_of(task_file), tmp_path / "run", store_root=tmp_path / "store")
    assert results.recommendation.refit_on is None
    assert any("it learned no labelled examples" in note for note in results.notes)
    assert all(config.l2 == "auto" for _, config, *_ in trainings)


def test_an_older_store_that_does_not_know_the_penalty_chooses_the_same(
    task_file, tmp_path, recommended, trainings, monkeypatch
):
    recommended("strong_on_easy")
    run(config_of(task_file), tmp_path / "run", store_root=tmp_path / "store")
    chosen, expected = trainings[0][3], state(tmp_path / "run")
    exported = refit.exported

    def forgetful(results, seeds):
        for work in seeds:
            for outcome in work.outcomes.values():
                if outcome.record is not None:
                    object.__setattr__(outcome, "record", {"owned": outcome.record["owned"]})
        return exported(results, seeds)

    monkeypatch.setattr("ensemw2s.pipeline.run.exported", forgetful)
    trainings.clear()
    run(config_of(task_file), tmp_path / "again", store_root=tmp_path / "store")
    assert [(config.l2, l2) for _, config, _, l2, *_ in trainings] == [
        ("auto", chosen)
    ]  # the refit itself is in the store
    assert torch.equal(state(tmp_path / "again")["score.weight"], expected["score.weight"])


def test_the_pooling_that_was_chosen_stays(task_file, tmp_path, recommended, trainings):
    recommended("strong_on_easy")
    strong = {"model": "tiny", "n_layers": 4, "pooling": "auto"}
    run(config_of(task_file, strong=strong), tmp_path / "run", store_root=tmp_path / "store")
    first, last = trainings[0][5], trainings[-1][5]
    assert trainings[-1][2] is None
    assert torch.equal(last.scale.isfinite(), first.scale.isfinite())
    assert (first.n_blocks, last.n_blocks) == (2, 1)  # the last has no choice
    assert not torch.equal(last.score.weight, first.score.weight)


def test_the_epoch_that_patience_kept_stays(task_file, tmp_path, recommended, trainings):
    recommended("strong_on_easy")
    training = {"solver": "adamw", "epochs": 30, "patience": 2, "min_steps": 1, "schedule": "constant"}
    run(config_of(task_file, student_training=training), tmp_path / "run", store_root=tmp_path / "store")
    kept, (_, config, validation, _, end, _) = trainings[0][4].kept_epoch, trainings[-1]
    assert config.patience is validation is None
    assert config.epochs == end.epochs == kept


def test_a_refit_that_is_interrupted_goes_on_to_the_same_student(task_file, tmp_path, recommended, monkeypatch):
    recommended("auto")
    training = {"epochs": 6, "batch_size": 32, "learning_rate": 0.01, "dropout": 0.1, "checkpoint_steps": 2}
    config = config_of(
        task_file,
        strong={"adapter": "top", "top_layers": 1},
        student_training=training | {"solver": "adamw"},
        students={"recipes": [{"with_easy": True}], "method": "auto"},
    )
    results = run(config, tmp_path / "calm", store_root=tmp_path / "calm-store")
    assert results.recommendation.refit_on == N_LABELS

    class Killed(BaseException):
        pass

    exported, save, saved = refit.exported, Checkpointer.save, []

    def dying(self, snapshot):
        save(self, snapshot)
        saved.append(int(snapshot["step"]))
        if len(saved) == 2:
            raise Killed

    def until_killed(results, seeds):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkpointer, "save", dying)
            return exported(results, seeds)

    monkeypatch.setattr("ensemw2s.pipeline.run.exported", until_killed)
    with pytest.raises(Killed):
        run(config, tmp_path / "stormy", store_root=tmp_path / "store")
    assert saved == [2, 4]
    saved.append(0)
    run(config, tmp_path / "stormy", store_root=tmp_path / "store")
    assert saved[3] == 6  # it went on from step 4
    calm, stormy = state(tmp_path / "calm"), state(tmp_path / "stormy")
    assert all(torch.equal(calm[name], stormy[name]) for name in calm)


def test_generated_answers_are_refitted_too(task_file, tmp_path, recommended):
    recommended("student:boosting:xent-hard-weighed+easy")
    tree = merged(tiny_words_tree(task_file), {"seeds": [0], "deliver": {"refit": True}})
    results = run(parse_config(tree), tmp_path / "refitted", store_root=tmp_path / "store")
    assert results.recommendation.refit_on == N_LABELS
    plain = run(
        parse_config(tree | {"deliver": {"refit": False}}), tmp_path / "measured", store_root=tmp_path / "store"
    )
    assert plain.rows == results.rows
    refitted, measured = state(tmp_path / "refitted"), state(tmp_path / "measured")
    assert any(not torch.equal(refitted[name], measured[name]) for name in measured)
    assert len(list(answer_prompts(tmp_path / "refitted" / "student", ["Is 3 above 2?"]))) == 1


def test_the_plan_counts_it(task_file):
    lines = {
        deliver: make_plan(config_of(task_file, deliver={"refit": deliver}), calibrated=False).lines
        for deliver in (True, False)
    }
    (line,) = [line for line in lines[True] if line not in lines[False]]
    assert (line.what, line.stage, line.count) == ("the exported student, once more", "evaluate", 1)


@pytest.mark.parametrize("part", ["ood_test", "hard_pool"])
def test_no_other_seal_opens_for_a_refit(part):
    sealed = SealedLabels(part, torch.tensor([0, 1]))
    with pytest.raises(SealError, match="'refit' asked for them"):
        sealed.open("refit")
    assert SealedLabels("id_test", torch.tensor([0, 1])).open("refit").tolist() == [0, 1]
