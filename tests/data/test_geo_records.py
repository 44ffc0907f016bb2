"""Record pairs: what a couple gives, that no record tells by itself, and the two contrast filters."""

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score

from ensemw2s.data.tasks.geo_records import RAW, GeoRecords, similarity
from ensemw2s.data.templates.template import Template
from ensemw2s.errors import DataError


@pytest.fixture(scope="module")
def examples():
    return GeoRecords(n_couples=600, n_rivals=5, prompt=RAW).load().examples


def test_a_couple_is_one_group_with_a_match_and_a_non_match_of_one_first_record(examples):
    seen = set()
    for match, other in zip(examples[::2], examples[1::2], strict=True):
        assert (match.answer, other.answer) == ("yes", "no")
        assert match.group_id == other.group_id
        (first, matched, _), (again, unlike, _) = match.prompt.split("\n"), other.prompt.split("\n")
        assert first == again
        assert matched != unlike
        names = [line[3:].split(";")[0] for line in (first, matched, unlike)]
        assert match.difficulty == pytest.approx(1.0 - similarity(names[0], names[1]))
        assert other.difficulty == pytest.approx(similarity(names[0], names[2]))
        seen.add(match.group_id)
    assert len(seen) == 600


@pytest.mark.parametrize("line", [0, 1])
def test_one_record_alone_is_at_chance(examples, line):
    words = CountVectorizer().fit_transform([e.prompt.split("\n")[line] for e in examples])
    groups, answers = [e.group_id for e in examples], [e.answer for e in examples]
    right = cross_val_score(LogisticRegression(), words, answers, groups=groups, cv=GroupKFold(5)).mean()
    # Folds whose groups are balanced err to below one half where there is nothing to learn.
    assert 0.45 < right < 0.53


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{ a | shared(b) }}|{{ a | only(b) }}|{{ b | only(a) }}", "New City|York|of"),
        ("{{ n | shared(7) }}{{ a | only('') }}", "7New York City"),
    ],
)
def test_filters_compare_words_without_case_in_order_each_once(text, filled):
    row = {"a": "New York City New", "b": "City of new new", "n": 7}
    assert Template(text).render("here", row) == filled


def test_what_has_no_words_is_refused():
    with pytest.raises(DataError, match="compare texts and whole numbers, not list"):
        Template("{{ a | shared(b) }}").render("here", {"a": ["x"], "b": "x"})


def test_the_contrast_is_the_default_and_the_template_that_is_exported():
    task = GeoRecords(n_couples=20, n_rivals=2)
    prompt = task.load().examples[0].prompt
    assert prompt.startswith("Name: both ")
    assert prompt.endswith("Same city?")
    assert task.template == task.prompt
