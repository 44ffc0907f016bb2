"""Questions worded otherwise: each change by hand, and what none of them may touch."""

import json
from dataclasses import replace
from random import Random

import pytest

from ensemw2s.config import EvaluationConfig, SplitConfig, parse_config
from ensemw2s.data.alike import alike
from ensemw2s.data.answers import ask
from ensemw2s.data.load import load_task
from ensemw2s.data.perturb import perturbed_tests, reworded
from ensemw2s.data.splits import make_split
from ensemw2s.data.tasks.files import Files
from ensemw2s.data.tasks.geo_countries import GeoCountries
from ensemw2s.data.tasks.sentiment import Sentiment
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.examples import Example, Wording
from ensemw2s.tables import PERTURBATIONS

LORA = {"adapter": "lora"}
WRITES = {"weak": LORA, "strong": LORA, "students": {"recipes": [{"labels": "hard"}]}}
TEXT = "The city of São Paulo, in 10² parts, is a rather old one."


def changed(name: str, text: str = TEXT, strength: float = 0.1, texts=("Is it so? No.",)) -> str:
    return PERTURBATIONS[name](text, Random(0), strength, [*texts, text])


def examples_of(*texts: str) -> list[Example]:
    return [Example(f"q{i}", f"g{i}", text) for i, text in enumerate(texts)]


def plain(examples) -> list[Wording]:
    return [Wording((e.prompt,), lambda texts: texts[0]) for e in examples]


def known(examples) -> frozenset[str]:
    return frozenset(alike(e.prompt) for e in examples)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lowercase", "the city of são paulo, in 10² parts, is a rather old one."),
        ("accents", "The city of Sao Paulo, in 10² parts, is a rather old one."),
        ("punctuation", "The city of São Paulo, in 10² parts, is a rather old one"),
        ("distractor", f"Is it so? {TEXT}"),
    ],
)
def test_a_change_is_what_its_name_says(name, expected):
    assert changed(name) == expected


def test_one_space_is_doubled_and_typos_are_in_long_words_alone():
    spaced = changed("spaces")
    assert len(spaced) == len(TEXT) + 1
    assert spaced.split() == TEXT.split()
    found = [PERTURBATIONS["typos"](TEXT, Random(i), 0.1, []) for i in range(200)]
    assert all(text != TEXT for text in found)
    assert all(text.startswith("The ") and " of São " in text and "10²" in text for text in found)
    assert max(abs(len(text) - len(TEXT)) for text in found) <= 4
    many = sum(a != b for a, b in zip(changed("typos", strength=1.0).split(), TEXT.split(), strict=True))
    assert many == 4  # city, Paulo, parts, rather, and no shorter one
    assert changed("typos", strength=0.0) == changed("masked", strength=0.0) == TEXT


def test_names_and_numbers_are_never_masked():
    masked = changed("masked", strength=1.0)
    assert masked == "The ... ... São Paulo, ... 10² ..., ... ... ... ... ...."


def test_a_change_depends_on_the_example_and_not_on_the_order_of_the_others():
    examples = examples_of("Is Rome above Oslo?", "Does iron rust in water?", "Which metal melts first of all?")
    for name in PERTURBATIONS:
        made = reworded(name, 0.3, examples, plain(examples), known(examples)).prompts
        turned = reworded(name, 0.3, examples[::-1], plain(examples[::-1]), known(examples)).prompts
        assert made == turned[::-1]


def test_a_prompt_that_would_be_anothers_stays_and_is_counted():
    examples = examples_of("Is San José large?", "Is San Jose large?", "Is Köln large?")
    made = reworded("accents", 0.1, examples, plain(examples), known(examples))
    assert made.prompts == ("Is San José large?", "Is San Jose large?", "Is Koln large?")
    assert (made.n_changed, made.n_others) == (1, 1)
    lower = reworded("lowercase", 0.1, examples, plain(examples), known(examples))
    assert (lower.n_changed, lower.n_others) == (3, 0)  # by `alike` they are their own prompts still


def test_marks_that_make_another_letter_stay_and_a_question_of_marks_alone_does_too():
    assert changed("accents", "がйÉ") == "がйE"
    made = reworded("punctuation", 0.1, found := examples_of("?!", "Is it?"), plain(found), known(found))
    assert (made.prompts, made.n_changed, made.n_others) == (("?!", "Is it"), 1, 1)


def test_what_a_task_puts_around_a_question_and_its_options_stay():
    listed = Example("q", "g", ask("Which of these is warm?", ["Blue Ice", "Red Fire"]))
    asked = GeoCountries().wordings([listed], ())[0]
    assert asked.texts == ("Which of these is warm?",)
    assert asked.render(["Hm"]) == ask("Hm", ["Blue Ice", "Red Fire"])
    rated = Sentiment().wordings([Example("s", "g", "Fine film.\nSentiment:")], ())[0]
    assert (rated.texts, rated.render(["Bad"])) == (("Fine film.",), "Bad\nSentiment:")


def own(tmp_path, rows, **settings) -> Files:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Files(path=str(path), **settings)


def test_columns_go_through_the_template_once_more_and_options_stay(tmp_path):
    rows = [{"q": f"Which IS {i}?", "hint": f"HINT {i}", "o": ["Alpha", "Beta"], "answer": "Beta"} for i in range(4)]
    prompt = "{{ hint | trim }}: {{ q | trim }}\n{% for o in options %}- {{ o }}\n{% endfor %}"
    settings = {"prompt": prompt, "answer_form": "free", "options": ("o",)}
    task = own(tmp_path, rows, **settings)
    examples = load_task(own(tmp_path, [*rows[:3], rows[3] | {"answer": "Alpha"}], **settings)).examples
    both = task.wordings(examples, ("q",))
    assert [w.render(w.texts) for w in both] == [e.prompt for e in examples]
    assert both[1].render(["which is 1?"]) == examples[1].prompt.replace("Which IS", "which is")
    for columns, message in (
        ((), "name those that may be worded otherwise in evaluation.perturb_columns"),
        (("o",), "is among what a question can be answered with"),
        (("questoin",), "there is no column 'questoin'"),
    ):
        with pytest.raises(DataError, match=message):
            task.wordings(examples, columns)


def test_flipping_sealed_answers_changes_no_perturbed_prompt(tiny_config):
    config = tiny_config(evaluation={"perturb": list(PERTURBATIONS)})
    task = load_task(config.task)
    other = {"yes": "no", "no": "yes"}
    split = make_split(task, config.split)
    sealed = {e.id for e in split.examples if e.answer is None}
    flipped = replace(
        task, examples=tuple(replace(e, answer=other[str(e.answer)]) if e.id in sealed else e for e in task.examples)
    )
    again = make_split(flipped, config.split)
    assert again.sealed["ood_test"].fingerprint != split.sealed["ood_test"].fingerprint
    made, same = (perturbed_tests(config.task, each, config.evaluation) for each in (split, again))
    assert made == same
    for tests in made:
        laid = tests.laid_over(split)
        rows = {row for part in split.tests for row in split.pools[part]}
        for row, (new, old) in enumerate(zip(laid.examples, split.examples, strict=True)):
            assert replace(new, prompt=old.prompt) == old
            assert row in rows or new.prompt == old.prompt


def test_settings_that_mean_nothing_are_refused_and_unused_ones_leave_no_trace():
    assert "evaluation" not in parse_config({}).model_dump()
    for evaluation, message in (
        ({"perturb": ["typo"]}, "there is no perturbation 'typo'"),
        ({"perturb": ["typos", "typos"]}, "twice"),
        ({"perturb": ["typos"], "perturb_columns": ["q"]}, "has no columns"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_config({"evaluation": evaluation})
    with pytest.raises(ConfigError, match="which its exact words decide"):
        parse_config({"task": {"name": "reasoning"}, **WRITES, "evaluation": {"perturb": ["typos"]}})
    assert SplitConfig() == parse_config({"evaluation": {"perturb": ["typos"]}}).split
    assert EvaluationConfig().strength == 0.1
