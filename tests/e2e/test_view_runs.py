"""A whole run whose members read parts of the trunk, its saved ensemble, and what its store keeps."""

import json

import pytest
import torch

from ensemw2s.config import EnsembleConfig
from ensemw2s.data.seal import SealedLabels
from ensemw2s.export.ensembles.labeller import open_labeller
from ensemw2s.models import activations
from ensemw2s.pipeline import run as runner
from ensemw2s.pipeline.run import run
from ensemw2s.services.planning.plan import make_plan

SIX = [*EnsembleConfig().methods, "subspace", "layers"]


def experts(store) -> set[str]:
    return {p.parent.name for p in (store / "experts").rglob("manifest.json")}


def small(tiny_config, methods, **changes):
    return tiny_config(
        **({"seeds": [0], "weak": {"n_layers": 3}, "students": {"recipes": [{}]}} | changes),
        ensemble={"methods": methods, "layer_range": [1, 3], "prior": 0.9, "n_rounds": 3},
    )


def test_six_methods_make_a_table_and_the_four_keep_what_an_older_store_holds(tiny_config, tmp_path):
    store = tmp_path / "store"
    run(small(tiny_config, SIX[:4]), tmp_path / "four", store_root=store)
    before = experts(store)
    config = small(tiny_config, SIX)
    results = run(config, tmp_path / "six", store_root=store)
    keys = {r.key for r in results.rows}
    assert {"subspace", "layers", "student:subspace:xent-soft", "student:layers:xent-soft"} <= keys
    pairs = {(c.row, c.baseline) for c in results.comparisons}
    assert {("subspace", "independent"), ("layers", "independent"), ("boosting", "layers")} <= pairs
    # Three subspaces; of three depths one is the weak model's own, whose expert `independent` has already.
    assert before < experts(store)
    assert len(experts(store)) == len(before) + 3 + 2
    # Half the features cost less to train; the trunk's passes are counted once.
    flops = {m: results.row(m).cost.flops for m in SIX}
    assert flops["subspace"] < flops["independent"] == flops["layers"]
    planned = [line for line in make_plan(config, calibrated=False).lines if line.what.startswith("an expert")]
    assert sum(line.count for line in planned if line.tokens and line.disk) == len(experts(store))


@pytest.mark.parametrize("method", ["subspace", "layers"])
def test_a_saved_ensemble_labels_as_in_the_run_from_one_pass(method, tiny_config, tmp_path, monkeypatch):
    config = small(tiny_config, [method])
    run(config, tmp_path / "run", store_root=tmp_path / "store")
    record = json.loads((tmp_path / "run" / "ensemble" / "ensemble.json").read_text())
    assert (record["depths"] is not None) == (method == "layers")
    store = runner.Store(tmp_path / "store")
    (reference,) = json.loads((tmp_path / "run" / "stages" / "labels.json").read_text())["artifacts"]
    kept = store.load("labels", reference["key"])
    split = runner.prepare(config, store, lambda model, n: None).split
    by_id = {e.id: e.prompt for e in split.examples}
    labeller, passes = open_labeller(tmp_path / "run"), []
    plain = activations.pooled_features
    monkeypatch.setattr(activations, "pooled_features", lambda *a, **k: passes.append(a[2]) or plain(*a, **k))
    found = labeller.label([by_id[i] for i in kept.record["ids"]])
    soft = torch.tensor([list(one["probability"].values()) for one in found])
    assert torch.allclose(soft, kept.tensors["soft"], atol=1e-5)
    assert method != "layers" or len(passes) == 1


def test_an_interrupted_run_goes_on_without_training_a_member_again(tiny_config, tmp_path, monkeypatch):
    config = small(tiny_config, ["subspace", "layers"])
    calm = run(config, tmp_path / "calm", store_root=tmp_path / "calm-store")
    plain, trained = runner.Store.memo, []

    def dies(self, kind, key, compute):
        def counted():
            trained.append(key)
            if len(trained) == 4 and kind == "experts":
                raise KeyboardInterrupt
            return compute()

        return plain(self, kind, key, counted)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Store, "memo", dies)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "run", store_root=tmp_path / "store")
    done = experts(tmp_path / "store")
    assert len(done) == 3
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "store" / "experts").rglob("manifest.json")}
    assert run(config, tmp_path / "run", store_root=tmp_path / "store") == calm
    assert all(p.stat().st_mtime_ns == t for p, t in times.items())


def test_no_sealed_label_is_opened_for_a_member(tiny_config, tmp_path, monkeypatch):
    asked: list[str] = []
    plain = SealedLabels.open
    monkeypatch.setattr(
        SealedLabels, "open", lambda self, purpose, rows=None: asked.append(purpose) or plain(self, purpose, rows)
    )
    run(small(tiny_config, ["subspace", "layers"]), tmp_path / "run", store_root=tmp_path / "store")
    assert asked == ["ceiling", "evaluation", "evaluation", "evaluation"]  # two tests, and people's curves
