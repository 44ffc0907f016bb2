"""Questions with options of their own: read from columns, named by text, letter or number."""

import json

import pytest

from ensemw2s.config import parse_config
from ensemw2s.data.load import load_task
from ensemw2s.data.own.options import chosen, letters_of, options_of, places_of
from ensemw2s.data.tasks.files import Files
from ensemw2s.errors import ConfigError, DataError
from tiny_run import merged, tiny_words_tree

OPTIONS = ("rain", "sun", "snow")


@pytest.mark.parametrize(
    ("answer_as", "answers"),
    [("text", OPTIONS), ("letter", "ABC"), ("letter", "abc"), ("index", "012"), ("number", "123")],
)
def test_an_answer_names_its_option_by_text_letter_index_or_number(answer_as, answers):
    assert [chosen("f", "answer", a, OPTIONS, answer_as) for a in answers] == list(OPTIONS)


@pytest.mark.parametrize(
    ("answer_as", "answer", "allowed"),
    [
        ("text", "hail", "one of ['rain', 'sun', 'snow']"),
        ("letter", "D", "a letter from A to C"),
        ("letter", "AB", "a letter from A to C"),
        ("index", "3", "a number from 0 to 2"),
        ("index", "-1", "a number from 0 to 2"),
        ("number", "0", "a number from 1 to 3"),
        ("number", "²", "a number from 1 to 3"),
    ],
)
def test_an_answer_that_names_no_option_is_refused_with_what_it_may_be(answer_as, answer, allowed):
    with pytest.raises(DataError) as caught:
        chosen("f line 3", "answer", answer, OPTIONS, answer_as)
    message = str(caught.value)
    assert message.startswith("f line 3, column 'answer': expected ")
    assert allowed in message
    assert f"(task.answer_as: {answer_as})" in message


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"o": [" rain", "sun", "snow"]}, ["o"]),
        ({"o": '["rain", "sun", "snow"]'}, ["o"]),
        ({"a": "rain", "b": "", "c": "sun", "d": None, "e": "snow"}, list("abcde")),
        ({"o": {"text": ["rain", "sun", "snow"]}}, ["o.text"]),
        ({"o.text": ["rain", "sun", "snow"], "o": {"text": ["other"]}}, ["o.text"]),
        ({"o": {"a": "rain", "b": "sun", "c": "snow"}}, ["o.a", "o.b", "o.c"]),
        ({"o": ["rain", None, " ", "sun", float("nan"), "snow"]}, ["o"]),
    ],
)
def test_options_are_a_list_or_a_column_each(row, columns):
    assert options_of(places_of("f", row, columns)) == OPTIONS


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"a": "rain", "b": "", "c": "sun", "d": "snow"}, list("abcd")),
        ({"a": "rain", "b": None, "c": "sun", "d": "snow"}, list("abcd")),
        ({"a": "rain", "b": float("nan"), "c": "sun", "d": "snow"}, list("abcd")),
        ({"o": ["rain", "", "sun", "snow"]}, ["o"]),
        ({"o": '["rain", null, "sun", "snow"]'}, ["o"]),
        ({"o": {"text": ["rain", None, "sun", "snow"]}}, ["o.text"]),
    ],
)
def test_positions_count_empty_places_too(row, columns):
    places = places_of("f", row, columns)
    ways = {"letter": "ACD", "index": "023", "number": "134", "text": OPTIONS}
    for way, answers in ways.items():
        assert [chosen("f", "answer", a, places, way) for a in answers] == list(OPTIONS)
    for way, answer in {"letter": "b", "index": "1", "number": "2"}.items():
        with pytest.raises(DataError, match=f"f line 3, column 'answer': '{answer}' names an option that is empty"):
            chosen("f line 3", "answer", answer, places, way)
    with pytest.raises(DataError, match="expected one of"):
        chosen("f", "answer", "", places, "text")


def test_an_answer_may_spell_its_option_in_another_way():
    places = ("s\u0069\u0301", "", "no")
    assert chosen("f", "answer", "S\u00cd ", places, "text") == places[0]
    with pytest.raises(DataError, match="expected one of"):
        chosen("f", "answer", "Á", ("a", "b"), "text")


def test_whole_numbers_that_a_file_keeps_as_floats_are_options():
    assert places_of("f", {"a": 2.0, "b": float("nan"), "c": 3.0}, list("abc")) == ("2", "", "3")


def test_letters_are_those_of_the_file_where_it_has_some():
    row = {"choices": {"text": ["rain", "sun", "snow"], "label": ["C", "A", "B"]}}
    places = places_of("f", row, ["choices.text"])
    letters = letters_of(row, ["choices.text"], places)
    assert [chosen("f", "answer", a, places, "letter", letters) for a in "CAb"] == list(OPTIONS)
    digits = letters_of({"choices": row["choices"] | {"label": [1, 2, 3]}}, ["choices.text"], places)
    assert [chosen("f", "answer", a, places, "letter", digits) for a in "123"] == list(OPTIONS)
    assert letters_of({"choices": {"text": list(OPTIONS)}}, ["choices.text"], places) == ("A", "B", "C")


def test_the_truth_stays_with_its_option_where_a_column_of_options_is_empty(tmp_path):
    path = tmp_path / "mc.csv"
    path.write_text(
        "question,option_a,option_b,option_c,option_d,answer\nHow many wheels has a boat?,Two,None,Four,Six,B\n"
        "How many cats?,One,,Three,Four,C\nHow many dogs?,One,Two,Three,Four,D\n"
    )
    columns = ("option_a", "option_b", "option_c", "option_d")
    settings = {"prompt": "{{ question }}", "answer_form": "free", "options": columns, "answer_as": "letter"}
    task = load_task(Files(path=str(path), **settings))
    assert [e.answer for e in task.examples] == ["None", "Three", "Four"]
    assert task.examples[1].choices == ("One", "Three", "Four")
    path.write_text(path.read_text().replace("Four,C", "Four,B"))
    with pytest.raises(DataError, match="line 3, column 'answer': 'B' names an option that is empty"):
        load_task(Files(path=str(path), **settings))


@pytest.mark.parametrize(
    ("row", "columns", "complaint"),
    [
        ({"option": []}, ["options"], "no column 'options' (task.options); did you mean 'option'?"),
        ({"o": {"texts": []}}, ["o.text"], "no column 'o.text'"),
        ({"o": "rain or sun"}, ["o.text"], "no column 'o.text'"),
        ({"o": "rain or sun"}, ["o"], "expected a list of texts"),
        ({"o": {"text": ["a"]}}, ["o"], "expected a list of texts"),
        ({"o": ["rain", 0.5]}, ["o"], "must be a text, got 0.5"),
        ({"o": ["rain", " "]}, ["o"], "two or more options"),
        ({"o": ["rain", True]}, ["o"], "must be a text, got True"),
        ({"o": ["rain", "rain "]}, ["o"], "all different, got ['rain', 'rain']"),
        ({"a": "rain", "b": ""}, ["a", "b"], "two or more options"),
    ],
)
def test_options_that_cannot_be_chosen_from_are_refused(row, columns, complaint):
    with pytest.raises(DataError) as caught:
        places_of("f line 3", row, columns)
    assert str(caught.value).startswith("f line 3")
    assert complaint in str(caught.value)


def test_a_file_of_questions_with_options_is_a_task_answered_by_their_texts(tmp_path):
    rows = [
        {"q": "What falls?", "o": ["rain", "sun"], "answer": "A"},
        {"q": "What shines?", "o": ["snow", "hail", "sun"], "answer": "C"},
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    template = "{{ q }}{% for option in o %}\n- {{ option }}{% endfor %}"
    task = load_task(
        Files(name="files", path=str(path), prompt=template, options=("o",), answer_as="letter", answer_form="free")
    )
    assert task.choices == ("rain", "sun")
    assert [e.choices for e in task.examples] == [("rain", "sun"), ("snow", "hail", "sun")]
    assert [e.answer for e in task.examples] == ["rain", "sun"]
    assert task.examples[0].prompt == "What falls?\n- rain\n- sun"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"options": ["o"], "answer_form": "choice"}, "options, which differ by question, are answered in words"),
        ({"answer_as": "letter"}, "answer_as: letter needs options"),
        ({"test": "t.jsonl"}, "test is given without unlabelled"),
        ({"unlabelled": "u.jsonl"}, "difficulty has no part where unlabelled is given"),
        ({"name": "svamp", "unlabelled": "u.jsonl"}, "task.unlabelled: no such setting of the task svamp"),
    ],
)
def test_settings_of_own_files_that_contradict_each_other_are_refused(tmp_path, task, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(merged(tiny_words_tree(tmp_path / "q.jsonl"), {"task": task}))


def test_difficulty_has_no_source_where_the_hard_side_is_a_file(tmp_path):
    changes = {"task": {"unlabelled": "u.jsonl", "difficulty": None}, "difficulty": {"source": "entropy"}}
    with pytest.raises(ConfigError, match=r"difficulty.source \(entropy\) has no part where task.unlabelled is given"):
        parse_config(merged(tiny_words_tree(tmp_path / "q.jsonl"), changes))


def test_answering_by_choice_is_allowed_where_there_are_options(tmp_path):
    tree = merged(tiny_words_tree(tmp_path / "q.jsonl"), {"generation": {"answer_by": "choices"}})
    with pytest.raises(ConfigError, match="the questions of files have no options"):
        parse_config(tree)
    assert parse_config(merged(tree, {"task": {"options": ["o"]}})).generation.answer_by == "choices"


def test_the_template_reads_the_options_and_so_may_the_nested_column(tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [{"q": "What falls?", "c": {"text": ["rain", "sun"]}, "key": key} for key in "AB"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for template in ("{{ q }}{% for o in options %} {{ o }}{% endfor %}", "{{ q }} {{ c.text | join(' ') }}"):
        task = load_task(
            Files(
                name="files",
                path=str(path),
                prompt=template,
                options=("c.text",),
                answer="key",
                answer_as="letter",
                answer_form="free",
            )
        )
        assert {e.prompt for e in task.examples} == {"What falls? rain sun"}
        assert [e.answer for e in task.examples] == ["rain", "sun"]
