"""Students, ensembles and labels, pushed to a hub on this machine and loaded from it; refusals in one sentence."""

import json
import shutil
import sys

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, constants

from ensemw2s import Student
from ensemw2s.cli import main
from ensemw2s.config import parse_config
from ensemw2s.export.card import card, hub_ids, metadata
from ensemw2s.export.classifier import load_student
from ensemw2s.export.ensembles.ensemble_folder import read_ensemble_record, write_ensemble
from ensemw2s.export.opened import open_answerers
from ensemw2s.export.place import exported_folder
from ensemw2s.export.student import answer_prompts
from ensemw2s.pipeline.run import run
from ensemw2s.services.sharing.parcel import ensemble_parcel
from tiny_run import comparison_rows, merged, tiny_tree, tiny_words_tree, write_jsonl

SMALL = {"ensemble": {"methods": ["boosting"], "n_rounds": 2}, "students": {"recipes": [{}]}}
PROMPTS = ["Is 90 above 3?", "Is 4 above 70?"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two finished runs, `classes` and `words`."""
    folder = tmp_path_factory.mktemp("shared")
    file = write_jsonl(folder / "q.jsonl", comparison_rows())
    words = merged(tiny_words_tree(file), SMALL | {"seeds": [0], "students": {"recipes": [{"labels": "hard"}]}})
    for name, tree in (("classes", merged(tiny_tree(file), SMALL)), ("words", words)):
        run(parse_config(tree), folder / name, store_root=folder / "store")
    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    """Calls `ensemw2s`: exit code, standard output, standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ensemw2s", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code or 0, *capsys.readouterr()

    return call


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_a_class_student_is_pushed_in_one_commit_and_loads_as_the_folder_does(place, hub, command):
    from transformers import AutoModelForSequenceClassification

    student = place / "classes" / "student"
    code, out, err = command("push", place / "classes", "--to", "me/student", "--private")
    assert code == 0, err
    assert f"the student of {place / 'classes'} is at {hub.url}/me/student" in out
    assert "kB, to the private model me/student" in err
    assert (hub.commits, hub.private) == (["me/student"], {"me/student"})
    pushed = contents(hub.repository("me/student"))
    del pushed[".gitattributes"]
    assert pushed == contents(student)
    # Again: nothing is left to do.
    assert command("push", place / "classes", "--to", "me/student", "--private")[0] == 0
    assert len(hub.commits) == 1

    theirs, ours = load_student("me/student"), load_student(student)
    torch.testing.assert_close(theirs.log_probs(PROMPTS), ours.log_probs(PROMPTS), rtol=0, atol=0)
    folder, trusted = exported_folder("me/student", "me/student")
    assert trusted == str(folder)
    assert Student.load("me/student").predict(PROMPTS).tolist() == [a["answer"] for a in ours.answers(PROMPTS)]
    model = AutoModelForSequenceClassification.from_pretrained(hub.repository("me/student"))
    assert tuple(model.config.id2label.values()) == ours.choices


@pytest.mark.parametrize("form", ["classes", "words"])
def test_an_ensemble_labels_and_a_student_predicts_under_its_name_on_the_hub(form, place, hub, command, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", comparison_rows(4))
    for what in ("student", "ensemble"):
        assert command("push", place / form, "--to", f"me/{what}", "--what", what)[0] == 0
        assert set(open_answerers(place / form / what)) == set(open_answerers(f"me/{what}")) == {what}
    found = {}
    for where, student, ensemble in (("hub", "me/student", "me/ensemble"), ("here", place / form, place / form)):
        files = [tmp_path / f"{where}-{name}.jsonl" for name in ("predicted", "labelled")]
        for given, file in zip((["predict", student], ["label", "--ensemble", ensemble]), files, strict=True):
            assert command(*given, "--input", source, "--output", file)[0] == 0
        found[where] = [file.read_bytes() for file in files]
    assert found["hub"] == found["here"]


def test_a_writing_student_is_a_language_model_of_the_librarys(place, hub, command):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert command("push", place / "words" / "student", "--to", "me/writer")[0] == 0
    repository = hub.repository("me/writer")
    tokenizer = AutoTokenizer.from_pretrained(repository)
    ids = tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
    written = AutoModelForCausalLM.from_pretrained(repository).generate(ids, max_new_tokens=6, do_sample=False)
    (answer,) = answer_prompts(place / "words" / "student", PROMPTS[:1])
    assert tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True).strip().startswith(answer["answer"])


def test_a_dry_run_prints_the_files_and_needs_neither_hub_nor_token(place, command, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    code, out, _ = command("push", place / "classes", "--to", "me/student", "--dry-run")
    assert code == 0
    listed = {line.split()[0] for line in out.splitlines()[1:]}
    assert listed == set(contents(place / "classes" / "student"))


def test_a_push_that_ends_before_its_commit_goes_on_with_what_the_hub_has(place, hub, command):
    hub.refusals["/commit/"] = 504
    code, _, err = command("push", place / "classes", "--to", "me/student")
    assert (code, "the hub cannot take it now (504); run the same command again later" in err) == (1, True)
    assert set(contents(hub.repository("me/student"))) == {".gitattributes"}
    sent = len(hub.received)
    hub.refusals.clear()
    assert command("push", place / "classes", "--to", "me/student")[0] == 0
    assert (len(hub.received), len(hub.commits)) == (sent, 1)


def test_a_name_that_is_taken_is_given_only_to_whoever_says_replace(place, hub, command):
    assert command("push", place / "words", "--to", "me/student")[0] == 0
    code, _, err = command("push", place / "classes", "--to", "me/student")
    assert (code, "this name is taken, with other files (" in err, len(hub.commits)) == (2, True, 1)
    assert command("push", place / "classes", "--to", "me/student", "--replace")[0] == 0
    pushed = contents(hub.repository("me/student"))
    assert pushed.keys() - {".gitattributes"} == set(contents(place / "classes" / "student"))
    assert len(hub.commits) == 2


REFUSED = [
    ("repos/create", 401, 2, "the hub does not know this token"),
    ("repos/create", 403, 2, "this token may not write to me/student"),
    ("/commit/", 403, 2, "this token may not write to me/student"),
    ("/commit/", 412, 2, "the repository changed meanwhile; run the same command again"),
    ("preupload", 400, 2, "the hub refuses ("),
]


@pytest.mark.parametrize(("route", "status", "code", "sentence"), REFUSED)
def test_a_refusal_of_the_hub_is_one_sentence(route, status, code, sentence, place, hub, command):
    hub.refusals[route] = status
    found, _, err = command("push", place / "classes", "--to", "me/student")
    (said,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert (found, sentence in said, hub.token in err) == (code, True, False)


def test_what_can_be_checked_is_checked_before_the_hub_is_asked(place, hub, command, tmp_path, monkeypatch):
    def refused(*arguments):
        code, _, err = command("push", *arguments)
        (said,) = [line for line in err.splitlines() if line.startswith("error:")]
        return code, said

    for name in ("student", "a/b/c", "me/has space", "me/.hidden"):
        assert refused(place / "classes", "--to", name)[0] == 2
    unfinished = tmp_path / "unfinished"
    shutil.copytree(place / "classes", unfinished)
    (unfinished / "results.json").unlink()
    code, said = refused(unfinished, "--to", "me/x")
    assert (code, "no finished run there" in said) == (5, True)
    for part, file in (("student", "model.safetensors"), ("ensemble", "experts.safetensors")):
        damaged = tmp_path / part
        shutil.copytree(place / "classes" / part, damaged)
        (damaged / file).write_bytes(b"torn")
        assert f"{file} has 4 bytes" in refused(damaged, "--to", "me/x", "--what", part)[1]
    assert "no student there" in refused(place / "store", "--to", "me/x")[1]
    assert "no data set of labels there" in refused(place / "classes", "--to", "me/x", "--what", "labels")[1]
    assert "MY_TOKEN is not set" in refused(place / "classes", "--to", "me/x", "--token-env", "MY_TOKEN")[1]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(place / "classes", "--to", "me/x")[1]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    code, said = refused(place / "classes", "--to", "me/x")
    assert (code, "http://127.0.0.1:9 is not reached (ConnectError" in said) == (1, True)
    assert not hub.commits


def test_a_private_push_into_a_public_repository_is_refused(place, hub, command):
    hub.repository("me/open").mkdir(parents=True)
    code, _, err = command("push", place / "classes", "--to", "me/open", "--private")
    assert (code, "there already and public" in err, hub.commits) == (2, True, [])


def test_a_name_that_is_neither_here_nor_on_the_hub_is_refused(hub, command, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", comparison_rows(2))
    for given in (["predict", "me/nobody"], ["label", "--ensemble", "me/nobody", "--output", tmp_path / "out"]):
        code, _, err = command(*given, "--input", source)
        assert (code, "me/nobody: neither a folder here nor a repository that the hub gives" in err) == (4, True)


def test_an_ensemble_on_a_model_in_a_folder_of_ones_own_is_pushed_with_a_warning(place, tmp_path):
    record = read_ensemble_record(place / "classes")
    weak = record.weak.model_copy(update={"model": str(tmp_path)})
    states = [{"score.weight": torch.ones(2, 2)} for _ in record.expert_ids]
    write_ensemble(tmp_path / "ensemble", record.model_copy(update={"weak": weak}), states)
    (note,) = ensemble_parcel(tmp_path / "ensemble").notes
    assert f"in the folder {tmp_path}: the path is in ensemble.json" in note
    assert not ensemble_parcel(place / "classes").notes


@pytest.mark.parametrize("form", ["classes", "words"])
@pytest.mark.parametrize("what", ["student", "ensemble"])
def test_a_model_card_says_how_right_it_is_with_the_interval_in_words(form, what, place):
    card = ModelCard.load(place / form / what / "README.md")
    results = json.loads((place / form / "results.json").read_bytes())
    key = results["recommendation"]["row"] if what == "student" else "boosting"
    (row,) = [row for row in results["rows"] if row["key"] == key]
    assert card.data.library_name == ("transformers" if what == "student" else "ensemw2s")
    assert card.data.pipeline_tag == {"classes": "text-classification", "words": "text-generation"}[form]
    assert [each.dataset_split for each in card.data.eval_results] == ["id_test", "ood_test"]
    for each in card.data.eval_results:
        interval = row["parts"][each.dataset_split]["accuracy"]["interval"]
        assert each.metric_value == pytest.approx(interval["mean"], abs=5e-5)
        assert each.metric_type == {"classes": "accuracy", "words": "exact_match"}[form]
        assert f"95% interval {interval['low']:.3f} to {interval['high']:.3f}" in each.metric_name
    assert str(place) not in str(card)  # where the run found its data is nobody else's
    for heading in ("What it is", "How it was supervised", "Figures", "Use", "Limits"):
        assert f"\n## {heading}\n" in card.text
    assert "{" not in card.text.replace("{{", "").split("## Use")[0]


def test_a_card_names_the_hub_models_and_the_licence_where_they_are_known(tmp_path):
    known = metadata(["smollm2-135m"], is_generation=False, by_library=True)
    assert (known.base_model, known.license) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")
    other = metadata(["smollm2-135m", "a/b", "tiny", str(tmp_path)], is_generation=True, by_library=False)
    assert (other.base_model, other.license) == (["HuggingFaceTB/SmolLM2-135M-Instruct", "a/b"], None)
    assert hub_ids(["tiny", "tf-idf", str(tmp_path)]) == []


@pytest.mark.parametrize("text", ["a: b", "x\n---\n# y", "'\"{", "<script>", "[a](b)", "- a", "# a"])
def test_a_text_from_outside_stays_a_value_in_the_head_of_a_card(text):
    data = metadata([], is_generation=False, by_library=True)
    data.tags.append(text)
    page = card(data, text, {"": ["body"]})
    head = yaml.safe_load(page.split("\n---\n")[0].removeprefix("---\n"))
    assert head["tags"][-1] == text
    assert ModelCard(page).data.tags[-1] == text


def test_labels_are_a_data_set_here_and_on_the_hub(place, hub, command, tmp_path):
    from datasets import ClassLabel, List, load_dataset

    dated = [row | {"day": f"2024-05-0{i + 1}", "mixed": "a" if i else 1} for i, row in enumerate(comparison_rows(6))]
    source = write_jsonl(tmp_path / "in.jsonl", [*dated, {"id": "late", "q": ""}])
    labels = tmp_path / "labels"
    given = ["label", "--ensemble", place / "classes", "--input", source, "--shard-rows", "3", "--format", "dataset"]
    assert command(*given, "--output", labels)[0] == 0
    code, _, err = command("push", labels, "--to", "me/labels", "--what", "labels")
    assert (code, "to the public dataset me/labels" in err) == (0, True)
    pushed = hub.repository("me/labels", "datasets")
    assert contents(pushed) == contents(labels) | {".gitattributes": (pushed / ".gitattributes").read_bytes()}
    shards = sorted((tmp_path / "labels.parts").glob("labels-*"))
    written = [json.loads(line) for path in shards for line in path.read_bytes().splitlines()]
    classes, cache = ClassLabel(names=["no", "yes"]), str(tmp_path / "datasets")
    for folder in (labels, pushed):
        (split, loaded), *others = load_dataset(str(folder), cache_dir=cache).items()
        assert (split, others, len(loaded)) == ("train", [], 6)
        assert (loaded.features["answer"], loaded.features["members"]) == (classes, List(classes))
        found = [row | {"answer": classes.int2str(row["answer"])} for row in loaded]
        found = [row | {"members": classes.int2str(row["members"])} for row in found]
        assert found == [row | {"mixed": str(row["mixed"])} for row in written]
    assert command(*given, "--output", place / "classes")[0] == 2  # a run is there
    (labels / "train.parquet").write_text("torn")
    code, _, err = command("push", labels, "--to", "me/labels", "--what", "labels")
    assert (code, "the data set is damaged (train.parquet has 4 bytes" in err) == (5, True)
