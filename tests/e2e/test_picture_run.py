"""A whole run on pictures, with random weights."""

import pytest

from ensemw2s.config import load_config
from ensemw2s.errors import ConfigError, ModelError
from ensemw2s.export.student import answer_prompts
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.tiny import tiny
from ensemw2s.services.planning.plan import make_plan
from page_tables import ROOT

CONFIG = ROOT / "configs" / "tasks" / "digits.yaml"
SHORT = ["ensemble.methods=[single]", "students.recipes=[{}]"]


@pytest.fixture(scope="module")
def config():
    return tiny(load_config(CONFIG, SHORT))


@pytest.mark.families
def test_a_run_on_pictures_ends_with_a_student_that_reads_them(config, tmp_path):
    planned = make_plan(config, calibrated=False)
    assert planned.flops > 0
    results = run(config, tmp_path / "run")
    kinds = {row.condition.kind for row in results.rows}
    assert {"majority", "student", "ceiling"} <= kinds
    assert not kinds & {"tfidf", "tfidf_self_trained", "zero_shot"}
    first = config.task.load().examples[:3]
    answers = list(answer_prompts(tmp_path / "run" / "student", [e.prompt for e in first]))
    assert all(answer["answer"] in "0123456789" for answer in answers)
    assert results.items is None or all(
        "![](digit-" in item.text and "/" not in item.text for item in results.items.items
    )
    card = (tmp_path / "run" / "student" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: image-classification" in card
    again = run(config, tmp_path / "run")
    assert again == results


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"weak": {"model": "tiny"}}, ModelError, "holds a picture"),
        ({"weak": ["tf-idf", {"model": "tiny-vision"}]}, ConfigError, "tf-idf weighs words"),
        ({"strong": {"model": "tiny-vision", "adapter": "top"}}, ModelError, "adapter: top trains layers"),
    ],
)
def test_models_that_read_no_pictures_are_refused_before_any_work(change, error, reason, config, tmp_path):
    tree = config.model_dump() | change
    with pytest.raises(error, match=reason):
        run(type(config).model_validate(tree), tmp_path / "run")
