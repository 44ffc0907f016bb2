"""What a sweep varies, and what is refused before any run; the runs themselves are test_cluster's."""

import json
import sys

import pytest

from ensemw2s.distributed.cluster import connected
from ensemw2s.errors import ConfigError
from ensemw2s.services.sweeps.sweep import combinations
from tiny_run import tiny_tree


def test_folders_are_named_by_what_varies(task_file, tmp_path):
    (tmp_path / "tiny.yaml").write_text(json.dumps(tiny_tree(task_file)))
    over = ["seeds=3,[0,1]", "weak.n_layers=1,2"]
    found = combinations(tmp_path / "tiny.yaml", ["ensemble.n_rounds=2"], over, tmp_path)
    assert [folder.name for _, folder in found][:2] == ["seeds=3+n_layers=1", "seeds=3+n_layers=2"]
    assert [(c.seeds, c.weak.n_layers) for c, _ in found] == [((3,), 1), ((3,), 2), ((0, 1), 1), ((0, 1), 2)]
    assert all(c.ensemble.n_rounds == 2 for c, _ in found)


@pytest.mark.parametrize(
    ("over", "word"),
    [
        ([], "nothing varies"),
        (["seeds"], "write the setting and its values"),
        (["seeds=0", "seeds=1"], "twice"),
        (["seeds=0,0"], "two combinations"),
        (["weak.nothing=1"], "nothing"),
    ],
)
def test_a_bad_sweep_is_refused_before_any_run(over, word, task_file, tmp_path):
    (tmp_path / "tiny.yaml").write_text(json.dumps(tiny_tree(task_file)))
    with pytest.raises(ConfigError, match=word):
        combinations(tmp_path / "tiny.yaml", [], over, tmp_path)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="ensemw2s\\[distributed\\]"), connected(1, None):
        pass
