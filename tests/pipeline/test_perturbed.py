"""Whole runs whose tests are asked once more: who answers is who was evaluated, and nothing that is trained changes."""

import pytest
import torch

from ensemw2s.config import parse_config
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.forms.classification.weak import gate
from ensemw2s.forms.prepared import rows_of
from ensemw2s.pipeline import run as runner
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.pipeline.seeds.students import train_students
from ensemw2s.results.conditions import AUGMENTED, STRONG_ON_EASY
from ensemw2s.services.planning.plan import make_plan
from ensemw2s.storage.store import Store
from tiny_run import merged, tiny_words_tree

LORA = {"adapter": "lora", "lora_rank": 2}
CONTEXT = {"n": 2, "kind": "demonstrations"}
READERS = {
    "heads": {
        "ensemble": {"methods": ["single", "subspace", "layers"], "vote": "gated"},
        "students": {"recipes": [{"loss": "evidential"}]},
    },
    "contexts": {
        "ensemble": {"methods": ["contexts", "prompted"], "context": CONTEXT},
        "weak": {"n_layers": None},
        "strong": {"n_layers": None},
        "students": {"in_context": 2, "recipes": [{}]},
    },
    "low-rank": {
        "weak": LORA | {"n_layers": 2},
        "strong": LORA | {"lora_layers": 1},
        "ensemble": {"methods": ["bagging"], "merges": ["linear"], "select_by": 2},
        "students": {"recipes": [{}]},
    },
    "pool": {
        "weak": [{"model": "tiny", "n_layers": 2}, {"model": "tf-idf"}],
        "ensemble": {"methods": ["independent"]},
        "students": {"recipes": [{}]},
    },
}


@pytest.mark.parametrize("kind", READERS)
def test_everybody_who_is_asked_the_same_again_says_the_same_again(kind, tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "shows_gain", lambda *_: True)  # so that gates are asked, too
    changes = merged({"seeds": [0], "ensemble": {"n_rounds": 2}}, READERS[kind])
    store = Store(tmp_path / "store")
    work = SeedWork(prepare(tiny_config(**changes), store, lambda model, n: None), store, 0)
    for units in (work.experts(), work.label(), train_students(work)):
        list(units)
    tests = torch.cat([rows for part, rows in rows_of(work.prepared, work.context).items() if part != "easy_val"])
    assert len(work.outcomes) > 7
    for condition, outcome in work.outcomes.items():
        again = work.form.scoring.asked(work.context, outcome.voters, tests[1::2].sort().values)
        for part, clean in outcome.voters.log_probs.items():
            if part in again.log_probs:
                assert torch.allclose(again.log_probs[part], clean, atol=1e-5), (condition.key, part)
                assert torch.equal(again.log_probs[part].argmax(-1), clean.argmax(-1)), (condition.key, part)


def kept(store, *kinds: str) -> set[str]:
    """Keys of the store's artifacts of these kinds."""
    return {p.parent.name for kind in kinds for p in (store / kind).rglob("manifest.json")}


@pytest.mark.parametrize("form", ["classes", pytest.param("words", marks=pytest.mark.families)])
def test_a_run_asks_once_more_resumes_and_trains_nothing_else(form, tiny_config, task_file, tmp_path, monkeypatch):
    changes = {"seeds": [0, 1], "ensemble": {"n_rounds": 2, "methods": ["single", "bagging"], "prior": "chance"}}
    tree = tiny_words_tree(task_file) if form == "words" else tiny_config().model_dump()
    tree = merged(tree, changes)
    tree["students"] |= {"recipes": tree["students"]["recipes"][:1], "augment": {"perturb": ["typos"]}}
    plain = run(parse_config(tree), tmp_path / "plain", store_root=tmp_path / "store")
    trained = kept(tmp_path / "store", "experts", "students")
    config = parse_config(merged(tree, {"evaluation": {"perturb": ["typos", "accents", "lowercase"]}}))
    memo, asked = runner.Store.memo, list[str]()
    kind = "scores" if form == "words" else "asked"

    def dies(self, of, key, compute):
        if of == kind:
            asked.append(key)
        if len(set(asked) - kept(tmp_path / "store", kind)) and len(kept(tmp_path / "store", kind) - before) == 3:
            raise KeyboardInterrupt
        return memo(self, of, key, compute)

    before = kept(tmp_path / "store", kind)
    with monkeypatch.context() as patch:
        patch.setattr(runner.Store, "memo", dies)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "run", store_root=tmp_path / "store")
    again, made = Store(tmp_path / "store"), kept(tmp_path / "store", kind)
    assert len(made - before) == 3
    found = run(config, tmp_path / "run", store_root=again.root)
    assert kept(again.root, "experts", "students") == trained
    assert made < kept(again.root, kind)
    assert [row.model_dump() for row in found.rows] == [row.model_dump() for row in plain.rows]
    tests = {(t.perturbation, t.part): t for t in found.perturbed}
    assert len(found.robustness) == len(found.rows) * len(tests) == len(found.rows) * 6
    for one in found.robustness:
        clean = found.row(one.row).parts[one.part]["accuracy"]
        assert one.drop.mean == pytest.approx(clean.interval.mean - one.accuracy.interval.mean)
        if one.perturbation == "accents":  # the questions have none: figures are the clean ones to the digit
            assert one.accuracy == clean
            assert tests["accents", one.part].n_changed == one.drop.low == one.drop.high == 0
    assert tests["typos", "ood_test"].n_changed > 40
    assert all((one.beyond_teacher is None) == (found.row(one.row).kind != "student") for one in found.robustness)
    lines = {line.what for line in make_plan(config, calibrated=False).lines}
    assert {what for what in lines if "perturbed" in what} == {
        *("the trunk reads perturbed tests", "an expert's answers to perturbed tests"),
        *("a student's answers to perturbed tests", "intervals of perturbed tests"),
        *("the trunk reads perturbed copies", "losses on perturbed copies"),
    }
    assert (AUGMENTED.key, STRONG_ON_EASY.key) in {(c.row, c.baseline) for c in found.comparisons}


def test_a_perturbed_prompt_that_is_too_long_is_refused_before_any_work(tiny_config, tmp_path):
    config = tiny_config(seeds=[0], evaluation={"perturb": ["distractor"]})
    longest = prepare(tiny_config(seeds=[0]), Store(tmp_path / "s"), lambda model, n: None).strong.lengths.max()
    short = config.model_copy(
        update={n: getattr(config, n).model_copy(update={"max_length": int(longest)}) for n in ("weak", "strong")}
    )
    with pytest.raises(DataError, match=r"evaluation\.perturb: distractor: example 'q"):
        prepare(short, Store(tmp_path / "s"), lambda model, n: None)


def test_columns_belong_to_a_perturbation(tiny_config):
    with pytest.raises(ConfigError, match=r"evaluation\.perturb names nothing to do"):
        tiny_config(evaluation={"perturb_columns": ["q"]})
