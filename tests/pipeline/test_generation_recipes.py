"""Label models and selections among texts: by hand, and in whole tiny runs."""

import json
from functools import partial

import pytest
import torch

from ensemw2s.config import parse_config
from ensemw2s.core.labels import everything
from ensemw2s.core.labels.votes import Alpha, Majority
from ensemw2s.core.selection import Evidence
from ensemw2s.core.selection.scores import Consistent
from ensemw2s.data.answers import final_answer
from ensemw2s.errors import ConfigError
from ensemw2s.forms.generation.labelling.candidates import Candidates
from ensemw2s.forms.generation.labelling.labels import PseudoAnswers, Samples
from ensemw2s.forms.generation.prepare import AnswerModels
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.run import run
from ensemw2s.storage.store import Store
from ensemw2s.tables import LABEL_MODELS, LOSSES, SELECTIONS
from tiny_run import READ_JUDGES, merged, tiny_words_tree

LABELS = [
    {"answer": "Peru", "members": ["Peru", "Chile ", "Chile"]},
    {"answer": "", "members": ["", "", "Iran"]},
]
WORDS = (
    [name for name, kind in LABEL_MODELS.items() if kind.for_generation and name not in READ_JUDGES],
    [n for n, kind in SELECTIONS.items() if kind.for_generation],
)


TEXT, NUMBER = (partial(final_answer, verifier=verifier) for verifier in ("text", "number"))


def pseudo(texts, confidence, labels=LABELS, samples=None):
    record = {"labels": labels, "expert_weights": [1.0, 0.5, 3.0][: len(labels[0]["members"])]}
    return PseudoAnswers(tuple(texts), torch.tensor(confidence), torch.ones(len(texts)), record, samples)


def never(_labelled):
    raise AssertionError("this model asks no student")


def test_a_question_has_a_column_per_text_and_the_first_is_the_ensembles():
    found = Candidates.of(pseudo(["Peru", ""], [0.2, 0.0]), n_later=1, final=TEXT)
    assert found.texts == [["Peru", "Chile"], ["", "Iran"]]
    assert found.votes.member.argmax(-1).tolist() == [[0, 0], [1, 0], [1, 1]]
    assert found.votes.soft[0].tolist() == pytest.approx([0.2, 0.0, 0.0])
    assert found.chosen(everything(found.votes.soft)) == ("Peru", "")  # however unlikely its text is


def test_the_majority_and_alpha_choose_among_the_texts():
    votes = Candidates.of(pseudo(["Peru", ""], [0.2, 0.5]), n_later=0, final=TEXT)
    assert votes.chosen(Majority()(votes.votes, never)) == ("Chile", "")
    assert votes.chosen(Alpha()(votes.votes, never)) == ("Chile", "Iran")


def test_a_later_students_answer_finds_its_column_or_gets_one():
    found = Candidates.of(pseudo(["Peru", ""], [0.2, 0.5]), n_later=1, final=TEXT)
    soft = found.add(pseudo(["Chile", "Iraq"], [0.7, 0.9]))
    assert found.texts == [["Peru", "Chile"], ["", "Iran", "Iraq"]]
    assert soft.tolist() == [pytest.approx([0.0, 0.7, 0.0]), pytest.approx([0.0, 0.0, 0.9])]
    assert found.chosen(everything(soft)) == ("Chile", "Iraq")


ONE = [{"answer": "so 7", "members": ["so 7"]}]


def drawn(texts, probability):
    return Samples((tuple(texts),), torch.tensor([probability], dtype=torch.float64))


def test_samples_are_voters_and_equal_answers_are_one_column_with_its_likeliest_text():
    said = drawn(["8", "it is 8.0", "7.0", "", "9"], [0.1, 0.3, 0.4, 0.9, 0.35])
    found = Candidates.of(pseudo(["so 7"], [0.2], ONE, said), n_later=0, final=NUMBER)
    # The ensemble's own first, then by the probability of those that gave it; silence has a column, too.
    assert found.texts == [["7.0", "", "it is 8.0", "9"]]
    assert found.votes.member.argmax(-1)[:, 0].tolist() == [0, 2, 2, 0, 1, 3]
    assert found.votes.weights.tolist() == [1.0] * 6
    assert found.chosen(Majority()(found.votes, never)) == ("7.0",)  # level with 8: the ensemble's own


def test_silence_never_wins_while_somebody_speaks_and_stays_in_the_count():
    found = Candidates.of(pseudo(["Peru"], [0.2], [{"members": ["Peru"]}], drawn([""] * 3, [0.1] * 3)), 0, TEXT)
    majority = found.spoken(Majority()(found.votes, never))
    assert found.chosen(majority) == ("Peru",)
    assert float(majority.soft.amax()) == pytest.approx(0.25)
    silent = Candidates.of(pseudo([""], [0.2], [{"members": [""]}], drawn([""], [0.1])), 0, TEXT)
    assert silent.chosen(silent.spoken(Majority()(silent.votes, never))) == ("",)


def test_consistent_keeps_the_answers_that_are_the_strong_models_own():
    found = Candidates.of(pseudo(["Peru", "Iran"], [0.2, 0.5]), n_later=1, final=TEXT)
    own = found.places(["peru.", "Iraq"])
    assert found.texts == [["Peru", "Chile"], ["Iran", "", "Iraq"]]
    soft = found.votes.soft
    told = Evidence(found.votes.member, soft, soft[:0], own[:0], lambda: (soft, soft), own_answer=own)
    assert Consistent()(everything(soft), told).keep.tolist() == [True, False]


@pytest.fixture(scope="module")
def every(task_file, tmp_path_factory):
    """One run with every label model and selection that can judge texts."""
    plain = {"labels": "hard"}
    recipes = [plain]
    recipes += [plain | {"label_model": name} for name in WORDS[0] if name != "vote"]
    recipes += [plain | {"selection": name} for name in WORDS[1] if name != "all"]
    recipes += [plain | {"with_easy": True, "easy_weight": 2.0, "curriculum": "confidence", "selection": "top-rho"}]
    recipes += [{"labels": "soft", "soft_share": 0.0}, {"labels": "soft", "soft_share": 0.5}]
    tree = merged(
        tiny_words_tree(task_file),
        {
            "seeds": [0],
            "ensemble": {"n_rounds": 2, "methods": ["single", "boosting"]},
            "generation": {"samples": 3, "sample_temperature": 0.5},
        },
    )
    tree["students"] = {"recipes": recipes}
    folder = tmp_path_factory.mktemp("words") / "run"
    return run(parse_config(tree), folder, store_root=folder.parent / "store"), folder, recipes


def test_every_recipe_for_words_runs_and_has_its_row(every):
    results, _, recipes = every
    keys = {row.key for row in results.rows}
    config = parse_config(results.config)
    assert len(config.students.recipes) == len(recipes) >= 7
    for recipe in config.students.recipes:
        assert f"student:boosting:{recipe.name}" in keys
    # A second round costs the students on the way, and their writing.
    cost = {row.key: row.cost.flops for row in results.rows}
    assert cost["student:boosting:xent-hard-next-round"] > cost["student:boosting:xent-hard"]


def test_a_selection_of_words_learns_from_fewer_answers(every):
    results, _, _ = every
    tokens = {row.key: row.cost.training_tokens for row in results.rows}
    assert tokens["student:single:xent-hard-confidence"] < tokens["student:single:xent-hard"]


def test_the_same_texts_are_the_same_student(every):
    """A single expert's majority is its own answer: nothing is trained twice."""
    _, folder, _ = every
    used = json.loads((folder / "stages" / "students.json").read_text())["artifacts"]
    keys = [a["key"] for a in used if a["kind"] == "students"]
    assert len(set(keys)) < len(keys)


def test_soft_labels_make_another_student_and_without_a_share_the_same(every):
    results, folder, _ = every
    parts = {row.key: row.parts for row in results.rows}
    assert parts["student:boosting:xent-soft[share=0.0]"] == parts["student:boosting:xent-hard"]
    assert parts["student:boosting:xent-soft[share=0.5]"] != parts["student:boosting:xent-hard"]
    store, kept = Store(folder.parent / "store"), []
    for artifact in json.loads((folder / "stages" / "labels.json").read_text())["artifacts"]:
        if artifact["kind"] == "labels":
            kept.append(store.load("labels", artifact["key"]).record["mixture"])
    assert len(kept) == 2
    assert all(each["top"] == 64 and 0 < each["least_kept_mass"] <= each["kept_mass"] <= 1.0001 for each in kept)


SOFT = {"students": {"recipes": [{"labels": "soft"}]}}
POOL = [{"model": "tiny", "adapter": "top"}] * 2
CHOICES = {"task": {"options": ["yes", "no"]}, "generation": {"answer_by": "choices"}}
CERTAIN = {"students": {"recipes": [{"labels": "hard", "soft_share": 0.3}]}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weak": POOL, "generation": {"boost_unit": "sequence"}}, "members of a pool vote on whole answers"),
        (CHOICES, "answer_by: choices writes none"),
        ({"strong": {"chat": True}}, r"\(weak.chat: false, strong.chat: true\) has others"),
        (CERTAIN, r"soft_share \(0.3\) has no part in labels: hard"),
    ],
)
def test_soft_labels_are_refused_where_there_is_no_distribution_over_the_students_tokens(changes, message, task_file):
    tree = merged(merged(tiny_words_tree(task_file), SOFT), {k: v for k, v in changes.items() if k != "weak"})
    with pytest.raises(ConfigError, match=message):
        parse_config(tree | {k: v for k, v in changes.items() if k == "weak"})


def test_a_share_of_soft_labels_is_for_words_alone(tiny_config):
    with pytest.raises(ConfigError, match=r"soft_share \(0.5\) is for answers in words"):
        tiny_config(students={"recipes": [{"soft_share": 0.5}]})


def test_another_tokenizer_learns_texts_and_no_soft_labels(task_file, tmp_path, monkeypatch):
    config = parse_config(merged(tiny_words_tree(task_file), SOFT))
    load = AnswerModels.__init__

    def with_another(self, *args):
        load(self, *args)
        tokenizer = self.pool[0].backbone.tokenizer
        tokenizer.add_tokens(["<new>"])

    monkeypatch.setattr(AnswerModels, "__init__", with_another)
    with pytest.raises(ConfigError, match=r"xent-soft learns the weak .*'<new>' is .*; choose labels: hard"):
        prepare(config, Store(tmp_path), lambda model, n: None)


@pytest.mark.parametrize(
    ("setting", "kinds"), [("loss", LOSSES), ("label_model", LABEL_MODELS), ("selection", SELECTIONS)]
)
def test_what_cannot_judge_texts_is_refused_with_what_can(setting, kinds, task_file):
    for name in (n for n, kind in kinds.items() if not kind.for_generation):
        tree = tiny_words_tree(task_file)
        tree["students"] = {"recipes": [{"labels": "hard", setting: name}]}
        with pytest.raises(ConfigError, match=f"{setting} {name} is for classes; answers in words are learned with"):
            parse_config(tree)


def test_samples_are_refused_where_every_option_is_scored(task_file):
    tree = merged(tiny_words_tree(task_file), {"generation": {"answer_by": "choices", "samples": 4}})
    tree["task"] |= {"options": ["yes", "no"]}
    with pytest.raises(ConfigError, match=r"generation.samples \(4\) has no part in answer_by: choices"):
        parse_config(tree)


def test_a_recipes_teachers_are_trained_alone_and_others_are_refused(tiny_config, tmp_path):
    students = {"recipes": [{}, {"loss": "product", "teachers": ["self", "boosting"]}]}
    results = run(tiny_config(seeds=[0], students=students), tmp_path / "run")
    with_product = {row.key for row in results.rows if "product" in row.key}
    assert with_product == {"self_training:product-soft", "student:boosting:product-soft"}
    with pytest.raises(ConfigError, match="has the teacher subspace, which the run lacks; choose among self, single"):
        tiny_config(students={"recipes": [{"teachers": ["subspace"]}]})
