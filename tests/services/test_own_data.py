"""`ensemw2s init`, and the guide docs/own-data.md command by command."""

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from ensemw2s import cli
from ensemw2s.config import load_config
from ensemw2s.core.metrics import balanced_accuracy
from ensemw2s.data.balance import is_uneven, rare_classes
from ensemw2s.data.templates.template import Template
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.pipeline.prepare import check
from ensemw2s.services.onboarding.lengths import check_lengths
from ensemw2s.services.onboarding.own_data import Wishes, write_config
from ensemw2s.services.planning.units import trainings_of
from tiny_run import comparison_rows, write_jsonl

GUIDE = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text()
MODELS = {"smollm2-135m": "tiny", "Qwen/Qwen2.5-0.5B": "tiny"}
CHANGES = (
    "seeds=[0]",
    "weak.n_layers=2",
    "ensemble={n_rounds: 2, methods: [boosting]}",
    "students.recipes=[{}]",
)
FAST = [part for change in CHANGES for part in ("--set", change)]


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """The guide's files: easy ones with answers, hard ones without, a few hard ones with."""
    rows = [{"question": r["q"], "answer": r["answer"]} for r in comparison_rows(320, seed=5)]
    write_jsonl(tmp_path / "labelled.jsonl", rows[:160])
    write_jsonl(tmp_path / "unlabelled.jsonl", [{"question": r["question"]} for r in rows[160:260]])
    write_jsonl(tmp_path / "test.jsonl", rows[260:])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["ensemw2s", *arguments])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE, re.S)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def test_every_command_of_the_guide_does_what_it_says(files, monkeypatch, capsys):
    assert len(commands()) == 7
    for program, *arguments in commands():
        assert program == "ensemw2s"
        told = [MODELS.get(a, a) for a in arguments] + (FAST if arguments[0] == "run" else [])
        code, out, err = call(monkeypatch, capsys, *told)
        assert code == 0, (arguments, err)
        if arguments[0] == "validate":
            assert "easy_counts" in out
    assert "There is no OOD test" in (files / "runs" / "my" / "report.html").read_text()
    assert "OOD interval" in (files / "runs" / "tested" / "report.html").read_text()
    answers = [json.loads(line) for line in (files / "answers.jsonl").read_text().splitlines()]
    questions = [json.loads(line)["question"] for line in (files / "unlabelled.jsonl").read_text().splitlines()]
    assert [a["question"] for a in answers] == questions
    labels = [json.loads(line) for line in (files / "labels" / "labels-00000.jsonl").read_text().splitlines()]
    assert [label["question"] for label in labels] == questions
    assert [list(label) for label in labels] == [list(answer) for answer in answers]


def test_every_template_of_the_guide_fits_its_columns():
    (block,) = re.findall(r"```yaml\n(task:\n  prompt.*?)```", GUIDE, re.S)
    row = {"question": "Q", "passage": "P" * 3000, "hint": None, "Question text": "T", "options": ["a", "b"]}
    prompts = [Template(d["task"]["prompt"]).render("here", row) for d in yaml.safe_load_all(block)]
    assert prompts == ["Q", "P" * 2000 + "\nQuestion: Q\nAnswer:", "Question: T\nA. a\nB. b\nAnswer:"]


WISHES = Wishes("labelled.jsonl", "unlabelled.jsonl", weak="w", strong="s")


def made(**changes: object) -> dict:
    write_config(replace(WISHES, **changes), Path("my.yaml"), ask=None, accept=True, force=True)
    return yaml.safe_load(Path("my.yaml").read_text())


def test_classes_are_told_from_the_columns_and_sizes_from_the_rows(files):
    tree = made(test="test.jsonl")
    assert tree["task"]["prompt"] == "{{ question }}\nAnswer:"
    assert tree["weak"]["pooling"] == tree["strong"]["pooling"] == "auto"
    assert tree["task"]["choices"] == ["no", "yes"]
    split = check(load_config(Path("my.yaml")))[1]
    assert {name: len(rows) for name, rows in split.pools.items()} == {
        name: tree["split"][f"n_{name}"] for name in ("easy_pool", "hard_pool", "id_test", "ood_test")
    }
    labelled, test = (
        [json.loads(line)["question"] for line in (files / name).read_text().splitlines()]
        for name in ("labelled.jsonl", "test.jsonl")
    )
    n_easy = sum(question not in test for question in labelled)
    assert tree["split"]["n_id_test"] + tree["split"]["n_easy_pool"] == n_easy


def test_one_labelled_file_of_classes_is_rated_by_the_weak_model(files):
    tree = made(unlabelled=None)
    assert tree["difficulty"] == {"source": "entropy", "n_labelled": 40}
    assert "unlabelled" not in tree["task"]


def test_words_options_and_odd_names_are_told_from_the_columns(files):
    rows = [
        {"Its text": f"What is {i}?", "id": i, "option_a": f"a{i}", "option_b": f"b{i}", "key": "AB"[i % 2]}
        for i in range(60)
    ]
    write_jsonl(files / "labelled.jsonl", rows)
    write_jsonl(files / "unlabelled.jsonl", rows)
    with pytest.raises(DataError, match="all of its questions are in another file, too"):
        made(answer="key")
    write_jsonl(files / "unlabelled.jsonl", [r | {"Its text": f"Why {r['id']}?"} for r in rows])
    tree = made(answer="key")
    task = tree["task"]
    assert (task["options"], task["answer_as"], task["id"]) == (["option_a", "option_b"], "letter", "id")
    assert tree["generation"]["answer_by"] == "choices"
    prompt = Template(task["prompt"]).render("here", rows[0])
    assert prompt == "Question: What is 0?\n- a0\n- b0\nAnswer:"


def test_empty_places_of_listed_options_are_not_shown_and_count(files):
    rows = [{"question": f"What is {i}?", "o": [f"a{i}", None, f"c{i}"], "answer": "AC"[i % 2]} for i in range(60)]
    write_jsonl(files / "labelled.jsonl", rows)
    write_jsonl(files / "unlabelled.jsonl", [r | {"question": f"Why {i}?"} for i, r in enumerate(rows)])
    task = made()["task"]
    assert (task["options"], task["answer_as"]) == (["o"], "letter")
    assert Template(task["prompt"]).render("here", rows[0]) == "Question: What is 0?\n- a0\n- c0\nAnswer:"


def test_what_nobody_can_be_asked_for_is_named(files, monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, "init", "--output", "my.yaml", "--labelled", "labelled.jsonl")
    assert code == 2
    assert "init: --weak, --strong, --answer, --prompt must be given" in err
    write_jsonl(files / "labelled.jsonl", [{"a": str(i), "b": "x"} for i in range(30)])
    with pytest.raises(ConfigError, match="the columns do not tell --answer"):
        made(unlabelled=None)


def asked(i: int) -> dict:
    return {"question": f"Is {i} above 40?", "answer": "yes" if i > 40 else "no"}


@pytest.mark.parametrize(
    ("leak", "name"),
    [
        (lambda i: {"label_text": ["no", "yes"][i > 40]}, "label_text"),
        (lambda i: {"text": ["negative", "positive"][i > 40] if i != 3 else "positive"}, "text"),
        (lambda i: {"kind": f"{'high' if i > 40 else 'low'}-{i % 3}"}, "kind"),
        (lambda i: {"why": f"The answer to question {i} is {'yes' if i > 40 else 'no'}"}, "why"),
        (lambda i: {"n": str(i * 7)}, "n"),
    ],
)
def test_a_column_that_gives_the_answer_away_is_left_out_of_the_prompt_and_named(
    files, monkeypatch, capsys, leak, name
):
    write_jsonl(files / "labelled.jsonl", [asked(i) | leak(i) for i in range(80 if name != "text" else 160)])
    line = ["init", "--labelled", "labelled.jsonl", "--weak", "w", "--strong", "s", "--output", "my.yaml", "--yes"]
    code, _, err = call(monkeypatch, capsys, *line)
    assert code == 0, err
    text = Path("my.yaml").read_text()
    assert yaml.safe_load(text)["task"]["prompt"] == "{{ question }}\nAnswer:"
    assert f'# Left out of the prompt, for they give the answer away: ["{name}"]' in text
    assert f"the prompt leaves out '{name}'" in " ".join(err.split())
    tree = yaml.safe_load(text)
    tree["task"]["prompt"] = f"{{{{ question }}}} {{{{ {name} }}}}"
    Path("my.yaml").write_text(yaml.safe_dump(tree))
    code, _, err = call(monkeypatch, capsys, "validate", "my.yaml")
    assert code == 0
    assert f"the prompt shows '{name}', which gives the answer away" in " ".join(err.split())


def test_where_every_column_gives_the_answer_away_the_prompt_must_be_given(files):
    write_jsonl(
        files / "labelled.jsonl", [{"text": ["no", "yes"][i % 3 > 1], "label": int(i % 3 > 1)} for i in range(60)]
    )
    with pytest.raises(ConfigError, match=r"do not tell --prompt; give it \(the prompt leaves out 'text'"):
        made(unlabelled=None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: r | {"answer": r["answer"] == "yes"}, ["false", "true"]),
        (lambda r: r | {"answer": float(r["answer"] == "yes")}, ["0", "1"]),
        (lambda r: r | {"answer": [r["answer"]]}, ["no", "yes"]),
        (lambda r: r | {"answer": f" {r['answer']}"}, ["no", "yes"]),
        (lambda r: r | {"answer": r["answer"].title() if "17" in r["question"] else r["answer"]}, ["no", "yes"]),
        (lambda r: r | {"answer": None if "17" in r["question"] else r["answer"]}, ["no", "yes"]),
        (lambda r: r | {"answer": -1 if "17" in r["question"] else int(r["answer"] == "yes")}, ["0", "1"]),
    ],
)
def test_labels_of_any_type_and_spelling_are_classes(files, change, expected):
    write_jsonl(files / "labelled.jsonl", [change(asked(i)) for i in range(80)])
    assert made(unlabelled=None)["task"]["choices"] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda i, r: r | {"answer": i / 80},
            r"line 2, column 'answer': expected a label, got 0.0125 \(float\), a score",
        ),
        (lambda i, r: r | {"answer": ["a", "b"]}, r"line 1, column 'answer': 2 labels"),
        (
            lambda i, r: r | {"question": "" if i == 7 else r["question"]},
            r"line 8: its prompt is empty; .* \(1 of 80 rows",
        ),
        (
            lambda i, r: r | {"question": None if i == 7 else r["question"]},
            r"line 8, column 'question': expected text, got None .* \(1 of 80 rows",
        ),
    ],
)
def test_what_init_cannot_use_is_named_by_its_real_fault(files, change, message):
    write_jsonl(files / "labelled.jsonl", [change(i, asked(i)) for i in range(80)])
    with pytest.raises(DataError, match=message):
        made(unlabelled=None)


def test_a_column_that_some_rows_lack_is_shown_where_it_is_there(files):
    rows = [asked(i) | {"context": f"context {i}" if i % 4 else None} for i in range(80)]
    write_jsonl(files / "labelled.jsonl", rows)
    prompt = Template(made(unlabelled=None)["task"]["prompt"])
    assert prompt.render("here", rows[1]) == "Question: Is 1 above 40?\nContext: context 1\nAnswer:"
    assert prompt.render("here", rows[0]) == "Question: Is 0 above 40?\n\nAnswer:"


def test_what_is_written_fits_the_longest_answer(files):
    rows = [{"question": f"Write {i}", "answer": f"{i} lines\n" + "word " * 100} for i in range(60)]
    write_jsonl(files / "labelled.jsonl", rows)
    write_jsonl(files / "unlabelled.jsonl", [{"question": f"Write {i}"} for i in range(100, 160)])
    write_config(replace(WISHES, weak="tiny", strong="tiny"), Path("my.yaml"), ask=None, accept=True, force=True)
    config = load_config(Path("my.yaml"))
    said, notes = check_lengths(config, *check(config))
    assert notes == []
    assert "at most" in said["weak"]


def test_learners_are_trained_to_the_end_whatever_the_answers(files):
    """Heads at their optimum for classes; what takes steps ends when easy validation data no longer improve."""
    made()
    config = load_config(Path("my.yaml"))
    assert {training.is_fitted for _, training in trainings_of(config)} == {True}
    write_jsonl(files / "labelled.jsonl", [{"question": f"Write {i}", "answer": f"{i} words"} for i in range(60)])
    write_jsonl(files / "unlabelled.jsonl", [{"question": f"Write {i}"} for i in range(100, 160)])
    made()
    config = load_config(Path("my.yaml"))
    assert config.is_generation
    for _, training in trainings_of(config):
        assert training.patience is not None
        # The floor is reached before the bound, or nothing could end early.
        assert training.epochs * -(-config.split.n_easy_train // training.batch_size) > training.min_steps


def test_of_one_model_twice_the_weak_one_can_speak_and_is_weaker(files):
    """In words it owns fewer layers; it is not cut, because a network without its upper layers writes nothing."""
    write_jsonl(files / "labelled.jsonl", [{"question": f"Write {i}", "answer": f"{i} words"} for i in range(60)])
    write_jsonl(files / "unlabelled.jsonl", [{"question": f"Write {i}"} for i in range(100, 160)])
    made(weak="tiny", strong="tiny")
    config = load_config(Path("my.yaml"))
    assert (config.weak.top_layers, config.strong.top_layers) == (1, 2)
    assert config.weak.n_layers is None


def test_a_file_that_is_there_is_replaced_only_by_force(files):
    made()
    with pytest.raises(ConfigError, match=r"my\.yaml: there is such a file; .* --force"):
        write_config(WISHES, Path("my.yaml"), ask=None, accept=True)


def test_at_a_terminal_it_asks_for_what_was_not_given_with_a_proposal(files):
    asked = []

    def ask(question: str, proposal: str | None) -> str:
        asked.append((question.split(" ")[0], proposal))
        return {"Weak": "w", "Strong": "s", "Prompt,": r"Q: {{ question }}\nA:"}.get(question.split(" ")[0], proposal)

    config = write_config(Wishes("labelled.jsonl", "unlabelled.jsonl"), Path("my.yaml"), ask=ask).config
    assert asked == [
        ("Labelled", ""),
        ("Column", "answer"),
        ("Prompt,", r"{{ question }}\nAnswer:"),
        ("Weak", "smollm2-135m"),
        ("Strong", "Qwen/Qwen2.5-0.5B"),
    ]
    assert config.task.prompt == "Q: {{ question }}\nA:"


def test_each_answer_is_checked_when_it_is_given_and_asked_for_again(files):
    given = iter(
        [
            *("nowhere.jsonl", "labelled.jsonl", "labelled.txt", "unlabelled.jsonl", "", "anser", "answer"),
            *("{{ qestion }}", "{{ question", r"{{ question }}\nAnswer:", "no/such/model", "tiny", "tiny"),
        ]
    )
    refusals = []
    written = write_config(Wishes(), Path("my.yaml"), ask=lambda *_: next(given), tell=refusals.append)
    assert [next(word for word in WORDS if word in refusal) for refusal in refusals] == WORDS
    assert written.config.task.prompt == "{{ question }}\nAnswer:"
    assert list(given) == []


WORDS = ["nowhere.jsonl", "labelled.txt", "'anser'", "did you mean 'question'", "{{ question", "no/such/model"]


def test_texts_that_yaml_would_read_as_something_else_stay_texts(files):
    rows = [{"question": f"q {i}: é 😀 # {i}", "answer": ["no", "1e3\n"][i % 2]} for i in range(60)]
    write_jsonl(files / "labelled.jsonl", rows)
    # Outer spaces and newlines are no part of a label.
    assert made(prompt="a: {{ question }} # 'b'\n\x85")["task"]["choices"] == ["1e3", "no"]
    assert load_config(Path("my.yaml")).task.prompt == "a: {{ question }} # 'b'\n\x85"


def test_a_rare_or_missing_class_is_warned_of(files, monkeypatch, capsys):
    rows = [{"question": f"Is it {i}?", "answer": "yes" if i in (3, 50) else "no"} for i in range(100)]
    write_jsonl(files / "labelled.jsonl", rows)
    tree = made()
    tree["task"]["choices"] = ["no", "yes", "maybe"]
    Path("my.yaml").write_text(yaml.safe_dump(tree))
    code, out, err = call(monkeypatch, capsys, "validate", "my.yaml")
    assert code == 0
    assert "'maybe': 0" in out
    assert "class 'maybe' has none of the 80 labelled easy examples; no model can learn it" in " ".join(err.split())
    assert rare_classes({"a": 95, "b": 5}) == []


def test_balanced_accuracy_is_the_mean_over_the_classes_that_occur():
    labels = torch.tensor([0] * 9 + [1])
    always = torch.tensor([[0.9, 0.1, 0.0]] * 10).clamp_min(1e-9).log()
    assert balanced_accuracy(always, labels) == 0.5
    assert is_uneven(labels)
    assert not is_uneven(torch.tensor([0, 0, 2]))
