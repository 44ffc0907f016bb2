"""What the store keeps of one task is not taken for another that looks like it."""

import pytest

from ensemw2s.experiment.runner import run

SMALL = {"seeds": [0], "ensemble": {"methods": ["single"]}, "students": {"recipes": [{}]}}


@pytest.mark.parametrize(
    ("rated", "kinds"),
    [
        ({"source": "column"}, ("experts", "students")),
        ({"source": "entropy", "n_labelled": 60, "n_folds": 2}, ("ratings", "experts", "students")),
    ],
    ids=["difficulty of a column", "difficulty by the weak model"],
)
def test_a_class_more_is_another_task_though_no_example_has_it(rated, kinds, tiny_config, tmp_path):
    kept = []
    for choices in (["no", "yes"], ["no", "yes", "maybe"]):
        config = tiny_config(**SMALL, task={"choices": choices}, difficulty=rated)
        run(config, tmp_path / str(len(choices)), store_root=tmp_path / "store")
        kept.append({kind: len(list((tmp_path / "store" / kind).glob("*/*"))) for kind in kinds})
    first, both = kept
    assert all(first.values())
    assert both == {kind: 2 * n for kind, n in first.items()}
