"""Whole runs in which experts become one model, or a gate says which of them to believe."""

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file, save_file

from ensemw2s.config import parse_config
from ensemw2s.data.seal import SealedLabels
from ensemw2s.ensemble.methods import check_methods
from ensemw2s.errors import ConfigError, ModelError
from ensemw2s.export.ensembles.labeller import open_labeller
from ensemw2s.forms.classification.weak import gate as gates
from ensemw2s.pipeline import run as runner
from ensemw2s.pipeline.run import run
from ensemw2s.services.planning.plan import make_plan
from ensemw2s.tables import MERGES as TABLE
from ensemw2s.tables import METHODS
from tiny_run import FEW, merged, tiny_words_tree

LORA = {"adapter": "lora", "lora_rank": 2, "lora_alpha": 3.0, "n_layers": 2}
MERGES = ["linear", "ties", "dare"]


def small(tiny_config, **changes):
    ensemble = {"methods": ["single", "independent", "bagging"], "n_rounds": 2, "select_by": 2}
    students = {"recipes": [{"teachers": ["bagging"]}]}
    plain = {"seeds": [0], "split": FEW, "ensemble": ensemble, "students": students, "strong": {"n_layers": 3}}
    return tiny_config(**merged(plain, changes))


def kept(store, kind: str) -> dict[str, int]:
    """Keys of the store's artifacts, and when each was made."""
    return {p.parent.name: p.stat().st_mtime_ns for p in (store / kind).rglob("manifest.json")}


def hard_examples(config, store):
    """Rows and prompts of the unlabelled examples."""
    split = runner.prepare(config, runner.Store(store), lambda model, n: None).split
    rows = split.draw(config.seeds[0]).hard_unlabelled
    return rows, [split.examples[row].prompt for row in rows.tolist()]


def probabilities(folder, prompts) -> torch.Tensor:
    return torch.tensor([list(one["probability"].values()) for one in open_labeller(folder).label(prompts)])


def test_merged_experts_are_rows_exported_resumed_and_see_no_sealed_label(tiny_config, tmp_path, monkeypatch):
    store, asked, made = tmp_path / "store", list[str](), list[str]()
    lora = {"weak": LORA, "expert_training": {"epochs": 3}}
    plain = run(small(tiny_config, **lora), tmp_path / "plain", store_root=store)
    before = kept(store, "experts") | kept(store, "students")
    config = small(tiny_config, **lora, ensemble={"merges": MERGES, "merge_options": {"ties": {"density": 0.4}}})
    memo, opened = runner.Store.memo, SealedLabels.open

    def dies(self, kind, key, compute):
        made.append(kind)
        if made.count("merged") == 3:
            raise KeyboardInterrupt
        return memo(self, kind, key, compute)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Store, "memo", dies)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "run", store_root=store)
    done = kept(store, "merged")
    assert len(done) == 2
    monkeypatch.setattr("ensemw2s.pipeline.export.METHODS", ())  # whatever is best on so few examples
    monkeypatch.setattr(
        SealedLabels, "open", lambda self, purpose, rows=None: asked.append(purpose) or opened(self, purpose, rows)
    )
    results = run(config, tmp_path / "run", store_root=store)
    assert asked == ["ceiling", "evaluation", "evaluation", "evaluation"]
    # Nothing that an older store holds is made again, and of six merges only four.
    assert kept(store, "experts") | kept(store, "students") == before
    assert len(kept(store, "merged")) == 6
    assert done.items() <= kept(store, "merged").items()
    assert all(results.row(row.key).parts == row.parts for row in plain.rows)
    for name in MERGES:
        row, vote = results.row(f"merged:{name}:bagging"), results.row("bagging")
        assert (row.kind, row.n_experts, row.cost.training_tokens) == ("ensemble", (1,), vote.cost.training_tokens)
        assert row.cost.expert_evaluations < vote.cost.expert_evaluations
        assert row.who == row.label == f"bagged ensemble, {TABLE[name].label}"
    pairs = {(c.row, c.baseline) for c in results.comparisons}
    assert {("merged:ties:bagging", "bagging"), ("merged:ties:bagging", "single")} <= pairs
    planned = {line.what: line.count for line in make_plan(config, calibrated=False).lines}
    assert planned["a merged model's evaluation"] == 6

    record = json.loads((tmp_path / "run" / "ensemble" / "ensemble.json").read_text())
    assert (record["weak"]["lora_rank"], record["weak"]["lora_alpha"], len(record["expert_ids"])) == (4, 4.0, 1)
    rows, prompts = hard_examples(config, store)
    found = probabilities(tmp_path / "run", prompts)
    stored = [runner.Store(store).load("merged", key).tensors["log_probs"][rows] for key in kept(store, "merged")]
    expected = [(each / record["temperature"]).softmax(-1) for each in stored]
    assert min(float((each - found).abs().max()) for each in expected) < 1e-5


def test_merged_experts_write_answers(task_file, tmp_path, monkeypatch):
    monkeypatch.setattr("ensemw2s.pipeline.export.METHODS", ())
    changes = {
        "seeds": [0],
        "split": FEW,
        "weak": LORA,
        "ensemble": {"methods": ["single", "independent"], "n_rounds": 2, "merges": ["linear", "ties"], "select_by": 2},
        "students": {"recipes": [{"labels": "hard", "teachers": ["independent"]}]},
    }
    config = parse_config(merged(tiny_words_tree(task_file), changes))
    results = run(config, tmp_path / "run", store_root=tmp_path / "store")
    for name in ("linear", "ties"):
        row = results.row(f"merged:{name}:independent")
        assert set(row.parts["ood_test"]) == {"accuracy", "log_loss", "token_error"}
        assert row.cost.expert_evaluations < results.row("independent").cost.expert_evaluations
    planned = {line.what for line in make_plan(config, calibrated=False).lines}
    assert {"a merged model's answers on easy-val", "a merged model's answers to the tests"} <= planned
    record = json.loads((tmp_path / "run" / "ensemble" / "ensemble.json").read_text())
    assert record["weak"]["lora_rank"] == 4
    labels = open_labeller(tmp_path / "run").label(["Is 90 above 3?", "Is 3 above 90?"])
    assert all(len(label["members"]) == 1 for label in labels)


def test_a_gate_is_used_where_it_wins_and_else_the_soft_vote(tiny_config, tmp_path, monkeypatch):
    store, asked = tmp_path / "store", list[torch.Tensor]()
    plain = run(small(tiny_config), tmp_path / "plain", store_root=store)

    def shows(gain, groups) -> bool:
        asked.append(gain)
        return len(asked) == 2  # of independent and bagging

    monkeypatch.setattr(gates, "shows_gain", shows)
    monkeypatch.setattr("ensemw2s.pipeline.export.METHODS", {"bagging": METHODS["bagging"]})
    config = small(tiny_config, ensemble={"vote": "gated", "n_rounds": 3})  # of which select_by takes two
    results = run(config, tmp_path / "run", store_root=store)
    assert [len(gain) for gain in asked] == [10, 10]  # half of easy-val
    assert results.row("independent").parts == plain.row("independent").parts
    assert results.row("bagging").parts != plain.row("bagging").parts
    said = " ".join(results.notes)
    assert "gate of the independent ensemble is used in no seed" in said
    assert "gate of the bagged ensemble is used in every seed" in said
    record = json.loads((tmp_path / "run" / "ensemble" / "ensemble.json").read_text())
    assert record["vote"] == "gated"
    _, prompts = hard_examples(config, store)
    labels = {a["key"] for a in json.loads((tmp_path / "run" / "stages" / "labels.json").read_text())["artifacts"]}
    soft = [runner.Store(store).load("labels", key).tensors["soft"] for key in labels]
    found = probabilities(tmp_path / "run", prompts)
    assert min(float((each - found).abs().max()) for each in soft) < 1e-5
    # Figures of each size end in that of the gated vote.
    trace = next(e for e in results.ensembles if e.method == "bagging")
    assert trace.selected == 2
    file = tmp_path / "run" / "ensemble" / "experts.safetensors"
    tensors = load_file(file)
    save_file({name: t for name, t in tensors.items() if name != "gate/mean"}, file)
    with pytest.raises(ModelError, match="a gate over 2 experts needs weight, mean and scale"):
        open_labeller(tmp_path / "run")


@dataclass(frozen=True)
class Share:
    """A share of the first expert's change."""

    label = "merged by a share"
    share: float = 0.5

    def __call__(self, changes, weights, generator):
        return self.share * changes[0]


def test_a_merge_of_another_package_is_a_name_with_its_options(monkeypatch, tiny_config):
    monkeypatch.setitem(TABLE, "share", Share)
    settings = tiny_config(ensemble={"merges": ["share"], "merge_options": {"share": {"share": 0.25}}}).ensemble
    assert settings.make_merge("share") == Share(0.25)
    with pytest.raises(ConfigError, match=r"merge_options\.share: share has no 'density'; it has share"):
        tiny_config(ensemble={"merges": ["share"], "merge_options": {"share": {"density": 0.25}}})


POOL = [{"model": "tiny", "n_layers": 2}, {"model": "tiny", "n_layers": 3}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ensemble": {"merges": ["mean"]}}, "ensemble.merges: there is no 'mean'; choose among linear, ties, dare"),
        ({"ensemble": {"merges": ["ties", "ties"]}}, "ensemble.merges: lists a merge twice"),
        ({"ensemble": {"merge_options": {"ties": {}}}}, "merge_options: 'ties' is not among merges"),
        (
            {"ensemble": {"merges": ["ties"], "merge_options": {"ties": {"share": 0.1}}}},
            "merge_options.ties: ties has no 'share'; it has density",
        ),
        ({"ensemble": {"merges": ["dare"], "merge_options": {"dare": {"density": 2}}}}, "density is 2"),
        ({"weak": POOL, "ensemble": {"merges": ["ties"]}}, "and `weak` is a pool of 2; leave merges out"),
        ({"weak": {"head_hidden": 4}, "ensemble": {"merges": ["ties"]}}, "hidden layers .weak.head_hidden: 4. begin"),
        ({"weak": POOL, "ensemble": {"vote": "gated"}}, "a gate reads one pretrained model's feature"),
    ],
)
def test_what_has_no_meaning_is_refused_with_the_settings(changes, words, tiny_config):
    with pytest.raises(ConfigError, match=words):
        tiny_config(**changes)


def test_a_gate_over_answers_in_words_is_refused(task_file):
    with pytest.raises(ConfigError, match=r"ensemble\.vote: gated is for classes, and files is answered in words"):
        parse_config(merged(tiny_words_tree(task_file), {"ensemble": {"vote": "gated"}}))


@pytest.mark.parametrize("method", ["subspace", "layers"])
def test_members_that_read_different_parts_are_not_merged(method, tiny_config):
    with pytest.raises(ConfigError, match=f"ensemble.merges: members of {method} read different parts of the model"):
        check_methods(tiny_config(ensemble={"methods": [method], "merges": ["linear"]}))


def test_merges_without_several_members_are_refused(tiny_config):
    with pytest.raises(ConfigError, match=r"ensemble\.merges: no method of the run has several members"):
        check_methods(tiny_config(ensemble={"methods": ["single"], "merges": ["linear"]}))
