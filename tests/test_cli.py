"""The commands, from the outside: output, JSON, exit codes, signals."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from functools import partial

import datasets
import pytest
import yaml

from ensemw2s import cli
from ensemw2s.data.readers.load import read_rows
from ensemw2s.results import Results
from tiny_run import comparison_rows, tiny_tree, write_jsonl

ANSWERED = ["answer", "confidence", "members", "agreement"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, task_file):
    folder = tmp_path_factory.mktemp("cli")
    for name, seeds in (("a", [0, 1]), ("b", [0, 1]), ("c", [2])):
        tree = tiny_tree(task_file) | {"seeds": seeds, "name": name}
        tree["ensemble"] = {"n_rounds": 2 if name == "b" else 3, "methods": ["single", "boosting"]}
        tree["students"] = {"recipes": [{}]}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree))
    return folder


def call(monkeypatch, capsys, *arguments: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["ensemw2s", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_run_report_predict_and_compare_follow_each_other(place, monkeypatch, capsys, tmp_path):
    for name in "abc":
        code, out, err = call(monkeypatch, capsys, "run", place / f"{name}.yaml", "--run-dir", place / name)
        assert code == 0, err
        assert "Use " in out
        assert "ceiling" in out
        assert str(place / name / "report.html") in out

    code, out, _ = call(monkeypatch, capsys, "run", place / "a.yaml", "--run-dir", place / "a", "--json")
    assert code == 0
    assert Results.model_validate_json(out).name == "a"

    (place / "a" / "report.html").unlink()
    code, out, _ = call(monkeypatch, capsys, "report", place / "a", "--export", "csv,tex")
    assert code == 0
    assert sorted(path.name for path in (place / "a" / "export").iterdir()) == [
        *("comparisons.csv", "conditions.csv", "conditions.tex", "seeds.csv")
    ]
    assert (place / "a" / "report.html").stat().st_size > 100_000

    questions = write_jsonl(tmp_path / "q.jsonl", comparison_rows(5, seed=3))
    answers = tmp_path / "answers.jsonl"
    predict = ("predict", place / "a", "--input", questions, "--prompt", "{{ q }}")
    assert call(monkeypatch, capsys, *predict, "--output", answers)[0] == 0
    code, out, _ = call(monkeypatch, capsys, *predict)
    assert out == answers.read_text()
    found = [json.loads(line) for line in out.splitlines()]
    rows = comparison_rows(5, seed=3)
    assert [list(f) for f in found] == [["id", "input_id", "q", "input_answer", "hardness", *ANSWERED]] * 5
    assert [(f["id"], f["input_id"], f["q"]) for f in found] == [
        (f"row-{n}", r["id"], r["q"]) for n, r in enumerate(rows, 1)
    ]
    assert all(f["answer"] in ("no", "yes") for f in found)

    columns = ("--id", "id", "--columns", "id,answer,confidence,probability,input_answer")
    code, out, _ = call(monkeypatch, capsys, *predict, *columns)
    for row, one in zip(rows, map(json.loads, out.splitlines()), strict=True):
        assert (one["id"], one["input_answer"]) == (row["id"], row["answer"])
        assert one["confidence"] == one["probability"][one["answer"]] == max(one["probability"].values())
        assert sum(one["probability"].values()) == pytest.approx(1.0, abs=1e-5)

    label = ("label", "--ensemble", place / "a", "--input", questions, "--prompt", "{{ q }}", "--id", "id")
    for suffix in ("csv", "jsonl", "parquet"):
        for command, name in (((*predict, "--id", "id"), "predicted"), (label, "labelled")):
            code, _, err = call(monkeypatch, capsys, *command, "--output", tmp_path / f"{name}.{suffix}")
            assert code == 0, err
        predicted, labelled = (read_rows(str(tmp_path / f"{name}.{suffix}")) for name in ("predicted", "labelled"))
        for (_, one), (_, other), row in zip(predicted, labelled, rows, strict=True):
            assert list(one) == list(other) == ["id", "q", "input_answer", "hardness", *ANSWERED]
            assert (one["id"], one["q"], str(one["hardness"])) == (row["id"], row["q"], str(row["hardness"]))
            members = other["members"] if suffix != "csv" else json.loads(other["members"])
            assert members.count(other["answer"]) / len(members) == pytest.approx(float(other["agreement"]))

    code, out, _ = call(monkeypatch, capsys, "compare", place / "a", place / "b", place / "c", "--json")
    pairs = json.loads(out)["pairs"]
    assert pairs[0]["difference"]["method"] == "student-t"
    assert "seeds differ" in pairs[1]["reason"]
    (place / "unfinished").mkdir()
    code, out, err = call(monkeypatch, capsys, "compare", place / "a", place / "unfinished", place / "b")
    assert code == 0
    assert f"{place / 'unfinished'}: no finished run there; left out" in " ".join(err.split())
    assert "strong model on easy" in out
    code, _, err = call(monkeypatch, capsys, "compare", place / "a", place / "unfinished")
    assert code == 5
    assert "finished runs are needed, got 1" in " ".join(err.split())


def test_validate_checks_the_data_and_works_nothing(place, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "validate", place / "a.yaml", "--json")
    assert code == 0
    assert json.loads(out)["pools"] == {"easy_pool": 120, "hard_pool": 90, "id_test": 50, "ood_test": 50}
    missing = ("validate", place / "a.yaml", "--set", "task.path=nowhere.jsonl")
    assert call(monkeypatch, capsys, *missing)[0] == 3
    assert call(monkeypatch, capsys, *missing, "--no-data")[0] == 0


@pytest.mark.parametrize(
    "command", ["run", "report", "validate", "init", "fetch", "predict", "serve", "track", "view", "queue", "compare"]
)
def test_help_has_an_example(command, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, command, "--help")
    assert code == 0
    assert f"ensemw2s {command}" in out


def test_predict_reads_the_split_it_is_told(monkeypatch, capsys, tmp_path):
    parts = {name: datasets.Dataset.from_dict({"q": [name]}) for name in ("train", "test")}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    # The rows are read first: what is refused after that is the student, which is not there.
    predict = ("predict", tmp_path / "none", "--input", tmp_path / "saved", "--prompt", "{{ q }}", "--split")
    assert call(monkeypatch, capsys, *predict, "test")[0] == 4
    assert call(monkeypatch, capsys, *predict, "dev")[0] == 3


def test_a_shell_is_told_what_may_follow(monkeypatch, capsys):
    monkeypatch.setenv("_ENSEMW2S_COMPLETE", "complete_bash")
    for words, expected in (("ensemw2s va", "validate"), ("ensemw2s run --run", "--run-dir")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        assert call(monkeypatch, capsys)[1].split() == [expected]
    monkeypatch.delenv("_ENSEMW2S_COMPLETE")
    monkeypatch.setattr("shellingham.detect_shell", lambda *_, **__: ("bash", "/bin/bash"))
    assert "_ensemw2s_completion" in call(monkeypatch, capsys, "--show-completion")[1]


def test_an_unknown_option_is_a_usage_error(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "run", "--sead", "3")[0] == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_cleanly_with_the_command_that_resumes(place, tmp_path, number, code):
    run_dir = tmp_path / "run"
    command = [sys.executable, "-m", "ensemw2s", "run", str(place / "a.yaml"), "--run-dir", str(run_dir)]
    command += ["--set", "ensemble={n_rounds: 200, shrinkage: 0.5}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ENSEMW2S_HOME": str(tmp_path / "home")}
    # Started in the background, the shell would have us and our child ignore SIGINT.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as child:
        deadline = time.monotonic() + 120
        events = run_dir / "events.jsonl"
        while not (events.exists() and '"stage": "experts"' in events.read_text()):
            assert time.monotonic() < deadline
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.05)
        child.send_signal(number)
        time.sleep(0.3)  # of two at once, either may be heard first
        child.send_signal(signal.SIGTERM)  # whoever sends another changes nothing
        message = child.stderr.read()
        assert child.wait() == code, message
    resume = message.partition("Resume with: ")[2].splitlines()[0]
    assert shlex.split(resume) == ["ensemw2s", *command[3:]]  # as it stands, it can be pasted into a shell
    assert "Traceback" not in message
    assert not (run_dir / "results.json").exists()
