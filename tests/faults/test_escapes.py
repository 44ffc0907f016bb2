"""What a terminal, a browser, a spreadsheet or a file system would obey is only shown, wherever text enters."""

import csv
import io
import json
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

from ensemw2s import cli
from ensemw2s.cli.common import write_json
from ensemw2s.config import parse_config
from ensemw2s.data.people import people_rows
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.report.leaderboard import markdown as board_markdown
from ensemw2s.report.table import comparison_table
from ensemw2s.results import Interval, RunComparison, RunLine
from ensemw2s.results.leaderboard import Leaderboard, LeaderboardTask, LeaderboardWork
from ensemw2s.screen import Screen, say
from ensemw2s.services.sweeps.sweep import combinations
from ensemw2s.text import from_cell, markdown, name_problem, to_cell, visible, visible_json

HOSTILE = {
    "colour": "\x1b[31mred",
    "title of the terminal": "\x1b]0;owned\x07",
    "one-byte control sequence": "\x9b31m",
    "carriage return": "good\rbad",
    "backspace": "bad\b\b\bgood",
    "delete": "a\x7fb",
    "new line": "done\nerror: none",
    "line separator": "a\u2028b\u2029c",
    "override of direction": "\u202egpj.exe",
    "isolate of direction": "\u2066a\u2069",
    "mark of direction": "a\u200fb\u061cc",
    "nothing seen": "a\u200bb\ufeffc\u2060d\u00ade",
    "tags": "a\U000e0041\U000e007fb",
    "half a character": "a\ud800b",
}
MARKUP = ["[/]", "[red]a[/red]", "a[b]c", "[link=file:///etc]x[/link]", ":warning:", "\\[a]", "{a}", "%s"]
PLAIN = ["é", "العربية", "می\u200cخواهم", "क\u094d\u200dष", "👩\u200d🔬", "文字", "a b", "a\u00a0b", "e\u0301"]


def is_harmless(text: str, keep: str = "") -> bool:
    bad = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return all(unicodedata.category(c) not in bad or c in "\u200c\u200d" or c in keep for c in text)


def shown(draw) -> str:
    file = io.StringIO()
    draw(Screen(file=file, width=200))
    return file.getvalue()


def call(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["ensemw2s", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0), *capsys.readouterr()


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_text_is_shown_on_one_line_and_obeyed_nowhere(kind):
    text = HOSTILE[kind]
    assert is_harmless(visible(text))
    assert visible(visible(text)) == visible(text)
    assert is_harmless(str(DataError(f"{text}: no such file")))
    assert is_harmless(shown(lambda screen: say(screen, text)).removesuffix("\n"))
    assert is_harmless(markdown(text))
    found = visible_json(json.dumps({text: text}, ensure_ascii=False), "utf-8")
    assert is_harmless(found)
    assert json.loads(found) == {text: text}


@pytest.mark.parametrize("kind", HOSTILE)
def test_tables_and_progress_bars_obey_nothing(kind):
    text = HOSTILE[kind]
    line = RunLine(run=text, row=text, labels={text: text}, n_seeds=1, metric="accuracy", accuracy={})
    found = shown(lambda screen: screen.print(comparison_table(RunComparison(lines=(line, line), pairs=()))))
    assert is_harmless(found, keep="\n")
    assert visible(text) in found

    def draw(screen: Screen) -> None:
        table = Table(title=text)
        table.add_column(text)
        table.add_row(text)
        screen.print(table)
        with Progress(TextColumn("{task.description}", markup=False), console=screen) as progress:
            progress.add_task(text)

    assert is_harmless(shown(draw), keep="\n")


@pytest.mark.parametrize("text", [*MARKUP, *PLAIN])
def test_what_looks_like_markup_and_every_script_is_shown_as_it_stands(text):
    assert visible(text) == text
    assert shown(lambda screen: say(screen, text, label="error:", style="red")) == f"error: {text}\n"
    line = RunLine(run=text, row=text, labels={text: text}, n_seeds=1, metric="accuracy", accuracy={})
    table = comparison_table(RunComparison(lines=(line, line), pairs=()))
    assert shown(lambda screen: screen.print(table)).count(text) == 4
    assert str(DataError(text)) == text


@pytest.mark.parametrize("text", [*MARKUP, *(text for kind, text in HOSTILE.items() if kind != "half a character")])
def test_a_path_with_anything_in_it_is_one_paragraph(text, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "run", f"{text}.yaml")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert is_harmless(err.removesuffix("\n"))
    assert (
        err == f"error: {visible(str(Path(text)))}.yaml: there is no such file; check the path of the configuration\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["\x1b[31m"],
        ["run", "--\x1b[31m"],
        ["run", "a.yaml", "\x1b[31m"],
        ["run", "[/]", "[/]"],
        ["compare", "--seeds", "\x1b[31m[/]"],
        ["label", "--ensemble", "\x1b[31m", "--input", "[/]", "--output", "o"],
        ["predict", "\x1b[31m", "--input", "[/].jsonl"],
        ["report", "\u202e[/]"],
        ["compare", "a\x9b", "[/]"],
        ["fetch", "\x1b[31m[/]"],
        ["queue", "\x1b[31m[/]", "--output", "q.csv"],
        ["sweep", "--over", "\x1b[31m=[/]", "--output", "o"],
        ["run", "--set", "\x1b[31m=[/]"],
        ["run", "\udcff.yaml"],
        ["run", "a\0b"],
        ["run", "--run-dir", "a\0b"],
    ],
    ids=repr,
)
def test_an_argument_with_anything_in_it_is_one_paragraph(arguments, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(monkeypatch, capsys, *arguments)
    assert code in (2, 3, 4, 5)
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert is_harmless(err.removesuffix("\n"))


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_for_machines_is_json_on_every_standard_output(encoding, monkeypatch):
    document = {"texts": [*HOSTILE.values(), *PLAIN], "numbers": [float("nan"), float("inf"), 1.5]}
    file = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file, encoding=encoding))
    write_json(document)
    sys.stdout.flush()
    line = file.getvalue().decode(encoding)
    assert is_harmless(line.removesuffix("\n"))
    assert json.loads(line, parse_constant=pytest.fail) == document | {"numbers": [None, None, 1.5]}


@pytest.mark.parametrize(
    "text", ["a|b", "`a`", "<script>", "[a](javascript:b)", "![a](b)", "a & b", "*a*", "\\|", "a\n# b"]
)
def test_a_text_is_no_markup_in_markdown(text):
    cell = markdown(text)
    for mark in "|`<>*&":
        assert cell.count(mark) == cell.count(f"\\{mark}")
    assert "\n" not in cell
    assert "](" not in cell


def test_a_board_in_markdown_keeps_its_rows_whatever_its_tasks_are_called():
    task = LeaderboardTask(
        name="a|b\n## c <script>",
        is_words=False,
        metric="accuracy",
        seeds=(0,),
        n_items=1,
        references={"ceiling": Interval(mean=0.5, low=0.4, high=0.6, method="one seed")},
        weak="`x`",
        strong="\x1b[31m",
        run="runs/a",
    )
    work = LeaderboardWork(experts_alone=1, experts=1, evaluations_alone=1, evaluations=1, seconds=1.0)
    board = Leaderboard(methods=(), tasks=(task,), cells=(), lines=(), work=work, missing=("[a](b), seed 0",), notes=())
    text = board_markdown(board)
    assert "### a\\|b\\\\n## c \\<script\\>\n" in text
    assert "Weak: \\`x\\`. Strong: \\\\x1b[31m" in text
    assert "\\[a]\\(b), seed 0" in text
    assert is_harmless(text, keep="\n")


FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "＝1",
    "－1",
    "'=1",
    "''=1",
    "=cmd|' /C calc'!A1",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text_in_a_cell_and_comes_back_exactly(text):
    cell = to_cell(text)
    assert cell.startswith("'")
    assert from_cell(cell) == text


@pytest.mark.parametrize("text", ["", "a", "1-1", "'a'", "a=b", "'", "1.5", "éa", " a"])
def test_a_cell_of_plain_text_is_left_alone(text):
    assert to_cell(text) == text
    assert from_cell(text) == text


def test_what_people_fill_in_comes_back_as_they_were_asked(tmp_path):
    path = tmp_path / "queue.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "answer"])
        writer.writerows([to_cell(text), to_cell(text)] for text in FORMULAS)
    assert [list(row.columns.values()) for row in people_rows(path)] == [[text, text] for text in FORMULAS]
    (tmp_path / "queue.jsonl").write_text(json.dumps({"id": "'=1", "answer": "'=1"}) + "\n")
    assert [row.columns["id"] for row in people_rows(tmp_path / "queue.jsonl")] == ["'=1"]


BAD_NAMES = [
    "../../x",
    "..",
    ".",
    "/etc",
    "",
    " ",
    "a/b",
    "a\\b",
    "a\0",
    "a ",
    " a",
    "a.",
    "é" * 101,
    *HOSTILE.values(),
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_is_a_plain_file_name(name):
    with pytest.raises(ConfigError, match="name: ") as error:
        parse_config({"name": name})
    assert is_harmless(str(error.value))


@pytest.mark.parametrize(
    "name", ["geo-facts", "a b (2)", "a[b]c", "<script>|", "=cmd", "é", "文字", ".a", "a..b", "x" * 200]
)
def test_a_plain_name_is_taken(name):
    assert name_problem(name) is None
    assert parse_config({"name": name}).name == name


@pytest.mark.parametrize(
    "settings",
    [
        {"task": {"name": "files", "path": "a\0b"}},
        {"task": {"name": "files", "path": "\ud800"}},
        {"weak": {"model": "\ud800"}},
        {"task": {"name": "files", "path": "a", "choices": ["a", "\ud800"]}},
    ],
    ids=ascii,
)
def test_a_setting_that_is_no_text_is_refused(settings):
    with pytest.raises(ConfigError, match="no Unicode text"):
        parse_config(settings)


def test_a_sweep_makes_plain_folders_below_its_output(tmp_path):
    with pytest.raises(ConfigError, match="another folder"):
        combinations(None, [], ["name=../../x,.."], tmp_path)
    with pytest.raises(ConfigError, match="shorten it"):
        combinations(None, [], [f"weak.model=tiny,{'m' * 250}"], tmp_path)
    for _, folder in combinations(None, [], ["name=a (b)c,=x,..y"], tmp_path):
        assert folder.parent == tmp_path
