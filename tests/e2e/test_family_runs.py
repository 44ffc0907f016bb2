"""Whole experiments with the families that the papers use, each side with another adapter."""

import pytest

from ensemw2s.config import parse_config
from ensemw2s.export.ensembles.labeller import open_labeller
from ensemw2s.export.student import answer_prompts
from ensemw2s.pipeline.run import run
from tiny_families import make_family
from tiny_run import comparison_rows, merged, tiny_tree, tiny_words_tree

TRAINING = {"epochs": 2, "batch_size": 16, "learning_rate": 0.003, "dropout": 0.0}
SHORT = {
    "seeds": [0],
    "expert_training": TRAINING,
    "student_training": TRAINING | {"micro_batch_size": "auto", "gradient_checkpointing": True},
    "ensemble": {"n_rounds": 2, "methods": ["single", "boosting"], "prior": 0.9},
    "students": {"recipes": [{"labels": "hard"}, {"labels": "hard", "with_easy": True}]},
}


@pytest.mark.families
@pytest.mark.parametrize(
    ("tree", "weak", "strong"),
    [
        (tiny_tree, ("bert", {"adapter": "head"}), ("bert", {"adapter": "full"})),
        (tiny_tree, ("roberta", {"adapter": "lora"}), ("modernbert", {"adapter": "lora", "lora_layers": 1})),
        (tiny_tree, ("gpt2", {"adapter": "full"}), ("gpt2", {"adapter": "lora", "lora_targets": ["c_attn"]})),
        (tiny_words_tree, ("gpt2", {"adapter": "top"}), ("gpt2", {"adapter": "full"})),
    ],
    ids=["bert", "roberta and modernbert", "gpt2", "gpt2 in words"],
)
def test_a_whole_experiment(tree, weak, strong, tmp_path, task_file):
    def side(family, settings):
        folder = tmp_path / family
        return settings | {"model": str(folder if folder.exists() else make_family(folder, family)), "n_layers": 2}

    changes = SHORT | {"weak": side(*weak), "strong": side(*strong)}
    results = run(parse_config(merged(tree(task_file), changes)), tmp_path / "run", store_root=tmp_path / "store")
    assert {"single", "boosting", "strong_on_easy", "ceiling"} <= {row.key for row in results.rows}
    prompts = [row["q"] for row in comparison_rows(4)]
    predicted = [one["answer"] for one in answer_prompts(tmp_path / "run" / "student", prompts)]
    labelled = [one["answer"] for one in open_labeller(tmp_path / "run").label(prompts)]
    assert len(predicted) == len(labelled) == 4
    if tree is tiny_tree:
        assert {*predicted, *labelled} <= {"yes", "no"}
