"""What the store keeps of one task is not taken for another that looks like it."""

from ensemw2s.experiment.runner import run


def test_a_class_more_is_another_task_though_no_example_has_it(tiny_config, tmp_path):
    rated = {"source": "entropy", "n_labelled": 60, "n_folds": 2}
    kinds = ("ratings", "experts", "students")
    kept = []
    for choices in (["no", "yes"], ["no", "yes", "maybe"]):
        config = tiny_config(seeds=[0], task={"choices": choices}, difficulty=rated, ensemble={"methods": ["bagging"]})
        results = run(config, tmp_path / str(len(choices)), store_root=tmp_path / "store")
        assert results.recommendation.headline
        kept.append({kind: {p.name for p in (tmp_path / "store" / kind).glob("*/*")} for kind in kinds})
    first, both = kept
    assert all(len(both[kind]) == 2 * len(first[kind]) for kind in kinds)
