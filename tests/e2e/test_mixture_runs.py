"""Whole runs whose student is a mixture of low-rank updates, and what is refused."""

import pytest
import torch

from ensemw2s.config import ModelConfig
from ensemw2s.ensemble.methods import check_methods
from ensemw2s.errors import ConfigError
from ensemw2s.estimators.base import as_learner
from ensemw2s.export.classifier import load_student
from ensemw2s.models.adapting.mixture import mixtures_of
from ensemw2s.pipeline import run as runner
from ensemw2s.pipeline.run import run
from ensemw2s.services.planning.plan import make_plan
from tiny_run import FEW, merged

LORA = {"adapter": "lora", "lora_rank": 2, "n_layers": 2}
MIXED = {
    "weak": LORA,
    "strong": LORA | {"lora_experts": 2, "lora_start": "weak"},
    "ensemble": {"methods": ["independent"], "n_rounds": 2, "select_by": 2, "prior": 0.9999},
}


def small(tiny_config, **changes):
    base = {"seeds": [0], "split": FEW, "expert_training": {"epochs": 3}, "students": {"recipes": [{}]}}
    return tiny_config(**merged(base | MIXED, changes))


def students(folder) -> dict[str, torch.Tensor]:
    found = [path.parent.name for path in (folder / "students").rglob("manifest.json")]
    return {key: runner.Store(folder).load("students", key).tensors["log_probs"] for key in sorted(found)}


def test_students_start_as_the_weak_experts_whatever_they_learn_and_are_counted(tiny_config, tmp_path):
    still = {"student_training": {"epochs": 1, "learning_rate": 1e-12}}
    config = small(tiny_config, **still)
    results = run(config, tmp_path / "run", store_root=tmp_path / "weak")
    assert "in MLPs mixtures of 2 low-rank updates, 2 active, from the weak experts" in results.strong
    found = students(tmp_path / "weak")
    first, *others = [log_probs for log_probs in found.values() if len(log_probs) == max(map(len, found.values()))]
    assert others
    assert all(torch.allclose(first, other, atol=1e-4) for other in others)
    assert len(mixtures_of(load_student(tmp_path / "run" / "student").backbone.model)) == 2 * 3
    run(config, tmp_path / "again", store_root=tmp_path / "weak")
    assert students(tmp_path / "weak").keys() == found.keys()

    zero = small(tiny_config, **still, strong={"lora_start": "zero"})
    run(zero, tmp_path / "zero", store_root=tmp_path / "weak")
    added = [log_probs for key, log_probs in students(tmp_path / "weak").items() if key not in found]
    assert not any(torch.allclose(first, other, atol=1e-2) for other in added if other.shape == first.shape)
    one = small(tiny_config, **still, strong={"lora_experts": 1, "lora_start": "zero"})
    mixed, single = (
        {line.what: line for line in make_plan(each, calibrated=False).lines}["strong on easy"]
        for each in (config, one)
    )
    owned = next(iter(runner.Store(tmp_path / "weak").load("students", key).record["owned"] for key in found))
    assert mixed.flops > single.flops
    assert mixed.flops / mixed.tokens > 6 * owned


def test_a_model_of_one_update_keeps_its_keys():
    plain, mixed = (ModelConfig(adapter="lora", lora_experts=n) for n in (1, 3))
    assert not any("lora_active" in tree or "lora_experts" in tree for tree in (plain.deciding, plain.model_dump()))
    assert mixed.deciding == plain.deciding | {"lora_experts": 3}


POOL = [LORA, LORA | {"lora_rank": 4}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strong": {"adapter": "head"}}, r"lora_experts .2. are low-rank updates, got adapter: head; set adapter"),
        ({"strong": {"adapter": "top", "top_layers": 1}}, "are low-rank updates, got adapter: top"),
        ({"strong": {"lora_active": 3}}, r"lora_active .3. exceeds lora_experts .2."),
        ({"strong": {"lora_experts": 1}}, "lora_start: weak is how several lora_experts begin"),
        ({"weak": {"lora_experts": 2}}, r"weak.lora_experts .2.: a mixture is a student"),
        ({"student_training": {"packing": True}}, "packing: strong.lora_experts balances each text by itself"),
        ({"strong": {"head_hidden": 4}}, "lora_start: weak merges heads, which head_hidden does not allow"),
        ({"weak": {"model": "smollm2-135m"}}, "model is 'smollm2-135m' in `weak` and 'tiny' in `strong`"),
        ({"strong": {"n_layers": 3}}, "n_layers is 2 in `weak` and 3 in `strong`; give both one model"),
        ({"weak": {"adapter": "head"}}, "adapter is 'head' in `weak` and 'lora' in `strong`"),
        ({"strong": {"lora_rank": 3}}, "lora_rank is 2 in `weak` and 3 in `strong`"),
        ({"weak": POOL}, "begins with experts of one weak model, and `weak` is a pool of 2"),
        ({"strong": {"lora_experts": 5}}, r"lora_experts .5. exceeds ensemble.n_rounds .2."),
        ({"ensemble": {"methods": ["single"]}}, "begins with the experts of a method that trains several"),
    ],
)
def test_what_cannot_be_is_refused_with_the_settings(changes, words, tiny_config):
    with pytest.raises(ConfigError, match=words):
        check_methods(small(tiny_config, **changes))


def test_an_estimator_has_no_experts_to_start_from():
    model = ModelConfig(model="tiny", adapter="lora", lora_experts=2, lora_start="weak")
    with pytest.raises(ConfigError, match=r"strong\.lora_start: weak begins with a run's experts"):
        as_learner(model, None, ["a"], parameter="strong")
