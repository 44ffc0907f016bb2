"""Prompt templates: what they write, and that everything wrong with one is known before any work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemw2s.data.templates.template import Template
from ensemw2s.errors import DataError

ROW = {"q": "Why?", "options": ["rain", "sun"], "n": 7, "extra": None, "Its text": "so", "row": "r", "share": 0.5}


@pytest.mark.parametrize(
    ("text", "prompt", "columns"),
    [
        ("{{ q }}", "Why?", ["q"]),
        ("{ {{ q }} } {{ n }}\n", "{ Why? } 7\n", ["q", "n"]),
        ("{{ '{{' }} {{ q }}", "{{ Why?", ["q"]),
        ('{{ row["Its text"] }} {{ row["row"] }}', "so r", ["Its text", "row"]),
        ("{{ q }}{% for o in options %}\n{{ 'AB'[loop.index0] }}) {{ o }}{% endfor %}", "Why?\nA) rain\nB) sun", None),
        ("{{ q }} {{ options | join(', ') }}", "Why? rain, sun", ["q", "options"]),
        ("{% if extra %}{{ extra }} {% endif %}{{ q }}", "Why?", None),
        ("{% set x = q | upper %}{{ x }}", "WHY?", ["q"]),
        ("{{ '%.1f' | format(share) }}", "0.5", ["share"]),
        ("{# why #}{{ q }}", "Why?", ["q"]),
    ],
)
def test_a_template_is_jinja_over_the_columns(text, prompt, columns):
    template = Template(text)
    assert template.render("here", ROW) == prompt
    assert columns is None or list(template.columns) == columns


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1).filter(str.strip))
def test_a_value_is_written_as_it_stands_whatever_it_holds(value):
    assert Template("{{ q }}").render("here", {"q": value}) == value


@pytest.mark.parametrize(
    ("text", "complaint", "mend"),
    [
        ("no column", "at least one column", "as {{ name }}"),
        ("{q}", "at least one column", "as {{ name }}"),
        ("a\n{{ q", "line 2: unexpected end of template", "write a column as {{ name }}"),
        ("{{ q | uper }}", "No filter named 'uper'", "write a column as {{ name }}"),
        ("{{ q }}{{ range(3) }}", "only these methods of a value are called", "write a column as {{ name }}"),
        ("{{ q }}\n{% include q %}", "line 2: `include` is nothing that a prompt template can use", "write a column"),
        ("{{ row }}", "line 1: `row` takes the name of a column", 'write {{ row["its name"] }}'),
        ("{{ row[q] }}", "`row` takes the name of a column", 'write {{ row["its name"] }}'),
    ],
)
def test_a_malformed_template_is_refused_before_any_row(text, complaint, mend):
    with pytest.raises(DataError) as caught:
        Template(text)
    message = str(caught.value)
    assert message.startswith(f"prompt template {text!r}")
    assert complaint in message
    assert mend in message


@pytest.mark.parametrize(
    ("text", "start", "complaint"),
    [
        ("{{ q }}\n{{ option }}", "f line 3: ", "no column 'option' (line 2 of the prompt template); did you mean 'op"),
        ("{{ extra }}", "f line 3, column 'extra'", "expected text, got None (NoneType)"),
        ("{{ options }}", "f line 3, column 'options'", "join(', ')"),
        ("{{ share }}", "f line 3, column 'share'", "got 0.5 (float)"),
        ("{{ q.stem }}", "f line 3: ", "has no attribute 'stem'"),
        ("{{ q.__class__ }}", "f line 3: ", "unsafe"),
        ("{{ q + n }}", "f line 3: ", "cannot be filled"),
        ("{{ n // 0 }}", "f line 3: ", "cannot be filled"),
        ("{{ q | replace('Why?', ' ') }}", "f line 3: ", "its prompt is empty"),
    ],
)
def test_a_row_that_does_not_fit_the_template_is_refused_with_its_place(text, start, complaint):
    with pytest.raises(DataError) as caught:
        Template(text).render("f line 3", ROW)
    message = str(caught.value)
    assert message.startswith(start)
    assert complaint in message
    assert "\n" not in message
