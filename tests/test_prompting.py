"""Chat turns and templates: the library's own ids, and a student that is asked as it was in training."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ensemw2s.config import parse_config
from ensemw2s.data.encode import encode_answers
from ensemw2s.errors import ModelError
from ensemw2s.export.classifier import load_student
from ensemw2s.export.ensembles.ensemble_folder import read_ensemble_record
from ensemw2s.export.ensembles.labeller import open_labeller
from ensemw2s.export.student import answer_prompts
from ensemw2s.models.loading.tiny import make_tiny
from ensemw2s.pipeline.run import run
from ensemw2s.prompting import Prompting, prompt_ids
from tiny_run import merged, tiny_tree, tiny_words_tree

CHAT = (
    "{% for m in messages %}<eos>{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}bot:{% endif %}"
)
SMALL = {"seeds": [0], "ensemble": {"n_rounds": 2, "methods": ["single", "boosting"]}}


@pytest.fixture(scope="module")
def chatty(tmp_path_factory) -> Path:
    folder = make_tiny(tmp_path_factory.mktemp("chat") / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return folder


def turn(tokenizer, prompt: str) -> list[int]:
    """The library's own way."""
    messages = [{"role": "user", "content": prompt}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)


def test_a_chat_prompt_has_the_ids_that_the_library_gives_it(chatty):
    tokenizer = AutoTokenizer.from_pretrained(chatty)
    prompts = ["Is ice cold?", "And\nfire {{ x }}?"]
    assert prompt_ids(tokenizer, prompts, chat=True) == [turn(tokenizer, p) for p in prompts]
    assert prompt_ids(tokenizer, prompts) == tokenizer(prompts)["input_ids"]
    assert prompt_ids(tokenizer, [], chat=True) == []


def test_a_tokenizer_without_a_chat_template_is_refused_with_the_mend(tmp_path, task_file):
    tokenizer = AutoTokenizer.from_pretrained(make_tiny(tmp_path / "model"))
    with pytest.raises(ModelError, match="model: its tokenizer has no chat template; set `chat: false`"):
        prompt_ids(tokenizer, ["a"], chat=True)
    config = parse_config(merged(tiny_tree(task_file), {"weak": {"chat": True}}))
    with pytest.raises(ModelError, match="no chat template"):
        run(config, tmp_path / "run", store_root=tmp_path / "store")


def test_an_answer_begins_the_assistants_turn_and_else_follows_a_space(chatty):
    tokenizer = AutoTokenizer.from_pretrained(chatty)
    found = [
        encode_answers(tokenizer, [[5]], ["yes"], max_length=9, names=["a"], chat=chat).targets.tolist()
        for chat in (False, True)
    ]
    assert [tokenizer.decode(ids[:-1]) for ids in found] == [" yes", "yes"]


def test_a_student_and_an_ensemble_are_asked_as_in_training(tmp_path, task_file, chatty):
    models = {"weak": {"model": str(chatty), "chat": True}, "strong": {"model": str(chatty), "chat": True}}
    run(parse_config(merged(tiny_tree(task_file), SMALL | models)), tmp_path / "run", store_root=tmp_path / "store")
    student = tmp_path / "run" / "student"
    tokenizer = AutoTokenizer.from_pretrained(student)
    assert Prompting.load(student) == Prompting("{{ q }}", chat=True)
    with torch.no_grad():
        ids = torch.tensor([turn(tokenizer, "Is 9 above 3?")])
        logits = AutoModelForSequenceClassification.from_pretrained(student)(ids).logits
    found = load_student(student).log_probs(["Is 9 above 3?"])
    assert torch.allclose(found, logits.log_softmax(-1), atol=1e-4)
    labeller = open_labeller(tmp_path / "run")
    assert labeller.readers[0].encode(["Is 9 above 3?"]) == ids.tolist()
    assert read_ensemble_record(tmp_path / "run").prompt == "{{ q }}"


def test_one_checkpoint_may_be_asked_in_two_ways(tmp_path, task_file, chatty):
    models = {"weak": {"model": str(chatty)}, "strong": {"model": str(chatty), "chat": True}}
    run(parse_config(merged(tiny_tree(task_file), SMALL | models)), tmp_path / "run", store_root=tmp_path / "store")
    assert Prompting.load(tmp_path / "run" / "student").chat
    labeller = open_labeller(tmp_path / "run")
    assert labeller.readers[0].encode(["a"]) == labeller.readers[0].tokenizer(["a"])["input_ids"]


def test_in_words_a_chat_student_answers_a_turn(tmp_path, task_file, chatty):
    models = {"weak": {"model": str(chatty), "chat": True}, "strong": {"model": str(chatty), "chat": True}}
    tree = merged(tiny_words_tree(task_file), SMALL | models)
    run(parse_config(tree), tmp_path / "run", store_root=tmp_path / "store")
    student = tmp_path / "run" / "student"
    assert Prompting.load(student) == Prompting("{{ q }}", chat=True)
    (found,) = answer_prompts(student, ["Is 9 above 3?"])
    assert found["prompt"] == "Is 9 above 3?"
    assert found["answer"]


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"template": "x"})])
def test_damaged_notes_on_prompting_are_refused(tmp_path, content):
    assert Prompting.load(tmp_path) == Prompting()
    (tmp_path / "prompting.json").write_text(content)
    with pytest.raises(ModelError, match=r"prompting\.json: damaged"):
        Prompting.load(tmp_path)
