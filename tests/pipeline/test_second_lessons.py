"""A student's second lesson in a whole tiny run: its rows, costs, pairs, notes, plan, and what is exported."""

import json
from dataclasses import replace

import pytest
import torch

from ensemw2s.config import Preference, parse_config
from ensemw2s.errors import ConfigError
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.forms.generation.judging.judges import SeedJudges
from ensemw2s.forms.generation.lessons import PairLessons
from ensemw2s.forms.generation.pairs import Asked, PairMaker
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.seeds import refit
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.pipeline.seeds.students import train_students
from ensemw2s.services.leaderboard.methods import METHODS, with_methods
from ensemw2s.services.planning.plan import make_plan
from ensemw2s.services.preferences.pairs import write_pairs
from ensemw2s.storage.store import Store
from tiny_run import merged, tiny_tree, tiny_words_tree

TRUE_JUDGE = PairLessons._judge
EASY = {"labels": "hard", "with_easy": True, "teachers": ["single"]}
THEN = {
    "pairs_options": {"least": 0.3, "surely": 0.4},
    "n_samples": 6,
    "temperature": 0.4,
    "epochs": 3,
    "learning_rate": 0.002,
}
TREE = THEN | {"pairs": "tree", "pairs_options": {"least": 0.3}, "loss": "ipo"}
JUDGED = THEN | {"pairs": "judged", "pairs_options": {"gap": 0.2}, "loss": "sft"}
DENOISED = THEN | {"denoise": "judges", "margin_scale": 0.5}
JUDGES = {"judges": {"kind": "likelihood"}}


def with_lessons(task_file, *lessons, **changes):
    small = {
        "seeds": [0],
        "ensemble": {"methods": ["single"], "n_rounds": 1},
        "student_training": {"epochs": 8},
        "split": {"n_hard_unlabelled": 40, "n_id_test": 20, "n_ood_test": 20},
        "deliver": {"refit": True},
    }
    tree = merged(merged(tiny_words_tree(task_file), small), changes)
    tree["students"] = {"recipes": [EASY, *(EASY | {"then": then} for then in lessons)]}
    return parse_config(tree)


def key_of(then):
    return f"student:single:xent-hard-{Preference(**then).name}+easy"


@pytest.fixture(scope="module")
def better():
    """Every lesson makes its student better, whatever it learned."""

    def judge(lessons, val):
        wrong = iter([0.5, 0.4])
        return lambda module: next(wrong)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairLessons, "_judge", judge)
        yield


@pytest.fixture(scope="module")
def config(task_file):
    return with_lessons(task_file, THEN, TREE, JUDGED, DENOISED, **JUDGES)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("lessons")


@pytest.fixture(scope="module")
def finished(place, config, better):
    return run(config, place / "run", store_root=place / "store")


def records(place, kind):
    used = json.loads((place / "run" / "stages" / "students.json").read_text())["artifacts"]
    return [Store(place / "store").load(kind, a["key"]).record for a in used if a["kind"] == kind]


def test_a_lesson_has_its_row_costs_and_a_note(finished, place):
    rows = {row.key: row for row in finished.rows}
    plain = rows["student:single:xent-hard+easy"]
    for then, words in ((THEN, "DPO of pairs by majority"), (TREE, "IPO of pairs by tree")):
        row = rows[key_of(then)]
        assert f"with the easy labels, then preferences by {words}" in row.label
        assert row.cost.flops > plain.cost.flops
        assert row.cost.training_tokens > plain.cost.training_tokens
        (note,) = [note for note in finished.notes if note.startswith(f"Second lesson of the {row.label}:")]
        assert "Right on easy-val: 50.0% before it, 60.0% after" in note
        assert "kept in 1 of 1 seeds" in note
    made = records(place, "pairs")
    assert len(made) == 4
    for record in made:
        assert record["pairs"]
        assert record["n_questions"] == 40
        assert sum(record["n_without"].values()) + len({p["id"] for p in record["pairs"]}) == 40


def test_judges_choose_pairs_and_a_note_says_how_far_they_may_change_others(finished, place):
    made = {record["row"]: record for record in records(place, "pairs")}
    judged, denoised = made[key_of(JUDGED)], made[key_of(DENOISED)]
    assert {pair["origin"] for pair in judged["pairs"]} == {"judged"}
    assert min(pair["margin"] for pair in judged["pairs"]) >= 0.2
    guard = denoised["guard"]
    assert guard["n_pairs"] > 0
    assert guard["share"] == (0.0, 0.1, 0.2)[guard["n_reversed"].index(min(guard["n_reversed"]))]
    rows = {row.key: row for row in finished.rows}
    assert "pairs by majority, denoised by judges (" in rows[key_of(DENOISED)].label
    assert "then the better answers alone of pairs by judges (" in rows[key_of(JUDGED)].label
    (note,) = [note for note in finished.notes if rows[key_of(DENOISED)].label in note]
    assert f"as {guard['n_pairs']} pairs of easy questions say whose order is known" in note
    assert rows[key_of(DENOISED)].cost.flops > rows[key_of(THEN)].cost.flops


def test_judges_that_know_turn_round_what_is_reversed_and_others_nothing(work, task_file, monkeypatch):
    right = {row["q"]: row["answer"] for row in map(json.loads, task_file.read_text().splitlines())}
    outcome = next(o for c, o in work.outcomes.items() if c.key == "student:single:xent-hard+easy")
    examples, wrong = work.prepared.split.examples, {"yes": "no", "no": "yes"}
    prompts = {example.id: example.prompt for example in examples}

    def asked(rows):  # three teacher's answers of ten are wrong
        truths = [right[examples[row].prompt] for row in rows.tolist()]
        return Asked(rows, [wrong[truth] if i % 10 < 3 else truth for i, truth in enumerate(truths)])

    def making(then, sign):
        def judge(questions, answers):
            each = zip(questions, answers, strict=True)
            return [torch.tensor([[sign * (a == right[q]) for a in given]] * 2) for q, given in each]

        judges = SeedJudges(work.context, judge, {"sign": sign}, NOTHING, lambda questions, answers: NOTHING)
        maker = PairMaker(work.prepared, work.context, Preference(**then), outcome.voters, judges)
        easy = asked(work.context.draw.easy_val) if "denoise" in then else None
        return maker.make("row", asked(work.context.draw.hard_unlabelled), easy)[0]

    def mostly_the_teachers(maker, asked):
        return tuple((*[weak] * 4, wrong[weak], "") for weak in asked.weak), NOTHING

    monkeypatch.setattr(PairMaker, "_samples", mostly_the_teachers)
    plain = making(THEN, 1.0)["pairs"]
    known, misled = (making(DENOISED, sign) for sign in (1.0, -1.0))
    before, after = (
        [pair["rejected"] == right[prompts[pair["id"]]] for pair in pairs] for pairs in (plain, known["pairs"])
    )
    assert (len(plain), sum(before), sum(after)) == (40, 12, 4)
    assert (known["guard"]["share"], known["guard"]["auroc"]) == (0.2, 1.0)
    assert [pair["probability"] < 0.5 for pair in known["pairs"]] == after
    assert all(
        pair["margin"] == pytest.approx(1.0) for pair, doubted in zip(known["pairs"], after, strict=True) if not doubted
    )
    assert misled["guard"]["share"] == 0.0
    assert misled["pairs"] == plain
    monkeypatch.setattr(PairMaker, "_samples", lambda maker, asked: ([("", "")] * len(asked.rows), NOTHING))
    silent = making(DENOISED, 1.0)
    assert (silent["pairs"], silent["guard"]["share"], silent["guard"]["n_pairs"]) == ([], 0.0, 0)


def test_a_run_again_learns_nothing_twice(finished, place, config, better, monkeypatch):
    monkeypatch.setattr(Store, "save", None)  # nothing is left to be kept
    (place / "run" / "results.json").unlink()
    assert run(config, place / "run", store_root=place / "store") == finished


def test_pairs_are_written_as_trl_reads_them(finished, place, tmp_path, task_file):
    run_dir, store = place / "run", place / "store"
    written = write_pairs(run_dir, tmp_path / "pairs.jsonl", row=key_of(THEN), store_root=store)
    lines = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    questions = {json.loads(line)["id"]: json.loads(line)["q"] for line in task_file.read_text().splitlines()}
    assert (written.n_pairs, written.row, written.seed) == (len(lines), key_of(THEN), 0)
    for line in lines:
        assert set(line) == {"prompt", "chosen", "rejected", "margin", "origin", "id"}
        assert line["prompt"] == questions[line["id"]]
        assert line["chosen"].startswith(" ")
        assert line["chosen"] != line["rejected"]
    (tree,) = [r for r in records(place, "pairs") if r["row"] == key_of(TREE)]
    write_pairs(run_dir, tmp_path / "tree.jsonl", row=key_of(TREE), store_root=store)
    branches = [json.loads(line) for line in (tmp_path / "tree.jsonl").read_text().splitlines()]
    for line, pair in zip(branches, tree["pairs"], strict=True):
        assert line["prompt"] + line["chosen"] == f"{questions[pair['id']]} {pair['chosen']}"
        assert line["prompt"] + line["rejected"] == f"{questions[pair['id']]} {pair['rejected']}"
    for bad, words in (
        ({"output": tmp_path / "pairs.csv"}, r"must end in \.jsonl"),
        ({"output": tmp_path / "pairs.jsonl"}, "already; choose another name"),
        ({"row": "single"}, "--row: no pairs of 'single'; choose one of student:single"),
        ({"seed": 5}, "--seed: there is no 5; choose one of 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            write_pairs(run_dir, **({"output": tmp_path / "new.jsonl", "store_root": store} | bad))


@pytest.fixture(scope="module")
def work(config, place, finished, better):
    """The finished run's seed, from its store."""
    store = Store(place / "store")
    made = SeedWork(prepare(config, store, lambda m, n: None), store, 0)
    for stage in (made.experts(), made.label(), train_students(made)):
        for _ in stage:
            pass
    return made


def test_the_exported_student_is_that_of_the_second_lesson_trained_once_more(work, finished):
    recommended = finished.recommendation.model_copy(update={"row": key_of(THEN), "refit_on": 1})
    _, voters = refit.exported(finished.model_copy(update={"recommendation": recommended}), [work])
    outcome = next(o for c, o in work.outcomes.items() if c.key == key_of(THEN))
    first = work.outcomes[next(c for c in work.outcomes if c.key == "student:single:xent-hard+easy")]
    assert len(outcome.ends) == len(first.ends) + 1
    for other in (outcome.voters, first.voters):
        assert any(not torch.equal(voters.states[0][n], t) for n, t in other.states[0].items())
    lesson = work.form.lessons.again(outcome.second.lesson, first.voters, outcome.second.lesson.training)
    assert lesson.supervision == outcome.second.lesson.supervision
    assert lesson.val is None


def test_a_lesson_that_is_no_better_leaves_the_student_as_it_was(task_file, work, tmp_path):
    outcome = next(o for c, o in work.outcomes.items() if c.key == key_of(THEN))
    lesson = replace(outcome.second.lesson, training=outcome.second.lesson.training.model_copy(update={"epochs": 1}))
    lessons = PairLessons(work.prepared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairLessons, "_judge", lambda lessons, val: lambda module: 0.5)
        artifact = lessons.fit(lesson, seed=0, checkpointer=None)
    assert not artifact.record["lesson"]["is_kept"]
    assert all(torch.equal(artifact.state[n], t) for n, t in lesson.start.states[0].items())


def test_what_judges_a_lesson_is_exact_match_on_easy_questions(work):
    student = next(o for c, o in work.outcomes.items() if c.key == "student:single:xent-hard+easy")
    (module,) = work.prepared.strong.load(student.voters.states)
    right = work.form.scoring.score(work.context, student.voters, "easy_val", None).right
    judge = TRUE_JUDGE(PairLessons(work.prepared), work.context.draw.easy_val)
    assert judge(module) == pytest.approx(1 - float(right.double().mean()))


def test_the_plan_counts_samples_and_lessons(task_file):
    config = with_lessons(task_file, THEN, TREE, generation={"samples": 3})
    lines = make_plan(config, calibrated=False).lines
    drawn = {line.what: line.tokens for line in lines if "drawn answers" in line.what}
    assert set(drawn) == {"drawn answers", "the strong model's drawn answers", "a student's drawn answers"}
    assert drawn["a student's drawn answers"] == pytest.approx(2 * drawn["the strong model's drawn answers"], rel=0.01)
    # All three recipes begin with the same student.
    assert [line.count for line in lines if line.what.startswith("a student of")] == [1]
    # A tree of six samples has five nodes that part at most: ten answers for each of the forty questions.
    tree, majority = sorted((line.tokens for line in lines if line.what == "a second lesson"), reverse=True)
    assert tree == pytest.approx(5 * majority, rel=0.01)


def test_the_plan_counts_what_judges_read_and_a_run_without_judges_is_refused(task_file):
    lines = make_plan(with_lessons(task_file, JUDGED, DENOISED, **JUDGES), calibrated=False).lines
    read = [line.tokens for line in lines if line.what == "judges read pairs"]
    # Seven answers to each of forty questions; two to each of those and of forty easy ones.
    assert sorted(read) == [pytest.approx(2 * 80 / (7 * 40) * max(read), rel=0.01), max(read)]
    assert {"a teacher's easy answers", "a student's drawn easy answers"} <= {line.what for line in lines}
    for then in (JUDGED, DENOISED):
        with pytest.raises(ConfigError, match=r"asks judges, and judges\.kind is none"):
            with_lessons(task_file, then)


def test_classes_have_no_second_lesson_and_the_leaderboard_leaves_them_out(task_file):
    tree = tiny_tree(task_file)
    tree["students"] = {"recipes": [{"then": {"pairs": "majority"}}]}
    with pytest.raises(ConfigError, match=r"a second lesson \(then\), which is for answers in words"):
        parse_config(tree)
    names = ["then-dpo", "then-sft+easy", "majority"]
    assert set(names) < set(METHODS)
    _, of_classes = with_methods(parse_config(tiny_tree(task_file)), names)
    _, of_words = with_methods(parse_config(tiny_words_tree(task_file)), names)
    assert (set(of_classes), set(of_words)) == ({"majority"}, set(names))
