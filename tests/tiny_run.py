"""A small labelled task and the configuration of a whole experiment that takes seconds."""

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemw2s.config import TrainConfig

STEPS = {"solver": "adamw", "epochs": 10, "patience": None, "schedule": "cosine"}
"""A training that takes all its steps, few and quick: how it ends has no part in what most tests look at."""


READ_JUDGES = {"judged"}
"""Label models that ask judges, whom most tests do not have."""


FEW = {
    "n_easy_pool": 60,
    "n_easy_train": 40,
    "n_easy_val": 20,
    "n_hard_pool": 20,
    "n_hard_unlabelled": 16,
    "n_id_test": 16,
    "n_ood_test": 16,
}
"""A split of the smallest pools that a whole run can do with."""


def stepped(**settings: Any) -> "TrainConfig":
    from ensemw2s.config import TrainConfig

    return TrainConfig(**(STEPS | settings))


def comparison_rows(n: int = 500, seed: int = 0) -> list[dict[str, Any]]:
    """Is a above b? Harder where they are closer."""
    rng = random.Random(seed)
    pairs = [(rng.randrange(100), rng.randrange(100)) for _ in range(n)]
    return [
        {"id": f"q{i}", "q": f"Is {a} above {b}?", "answer": "yes" if a > b else "no", "hardness": -abs(a - b)}
        for i, (a, b) in enumerate(pairs)
    ]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tiny_tree(task_file: Path) -> dict[str, Any]:
    """A configuration of a whole experiment that takes about two seconds."""
    training = STEPS | {"epochs": 4, "batch_size": 32, "learning_rate": 0.01, "dropout": 0.1}
    return {
        "name": "tiny",
        "seeds": [0, 1],
        "task": {"name": "files", "path": str(task_file), "prompt": "{{ q }}", "id": "id", "difficulty": "hardness"},
        "split": {
            "n_easy_pool": 120,
            "n_easy_train": 60,
            "n_easy_val": 40,
            "n_hard_pool": 90,
            "n_hard_unlabelled": 70,
            "n_id_test": 50,
            "n_ood_test": 50,
        },
        "weak": {"model": "tiny", "n_layers": 2},
        "strong": {"model": "tiny", "n_layers": 4},
        "expert_training": training | {"epochs": 12},
        "student_training": training,
        "ensemble": {"n_rounds": 3},
        "students": {"recipes": [{}, {"loss": "logconf", "with_easy": True}]},
        "cache": {"shard_rows": 128},
    }


def other_models(kind: str, folder: Path) -> dict[str, Any]:
    """Changes to `tiny_tree`: a mixture of low-rank updates as student, or vectors of a file; nothing for any other."""
    if kind == "mixture":
        lora = {"adapter": "lora", "lora_rank": 2, "n_layers": 2}
        return {"weak": lora, "strong": lora | {"lora_experts": 2, "lora_start": "weak"}}
    if kind == "vectors":
        import torch

        from ensemw2s.models.vectors import write_vectors

        rows = comparison_rows()
        drawn = torch.randn(len(rows), 6, generator=torch.Generator().manual_seed(0))
        vectors = torch.cat([drawn, torch.tensor([[-row["hardness"] / 50] for row in rows])], dim=1)
        write_vectors(folder / "vectors.safetensors", [row["id"] for row in rows], {1: drawn, 2: vectors})
        model = f"features:{folder / 'vectors.safetensors'}"
        return {"weak": {"model": model, "n_layers": 1}, "strong": {"model": model, "n_layers": 2}}
    return {}


def tiny_words_tree(task_file: Path) -> dict[str, Any]:
    """The same questions answered in words: a whole generation experiment that takes a few seconds."""
    training = STEPS | {"epochs": 3, "batch_size": 16, "learning_rate": 0.01}
    changes = {
        "name": "tiny-words",
        "task": {"answer_form": "free"},
        "weak": {"adapter": "top", "top_layers": 1},
        "strong": {"adapter": "lora", "lora_layers": 2},
        "expert_training": training,
        "student_training": training | {"dropout": 0.1, "checkpoint_steps": 3},
        "ensemble": {"prior": "pretrained", "shrinkage": 0.3, "select_by": "accuracy", "max_expert_weight": 2.0},
        "generation": {"init_noise": 0.3, "bootstrap": True, "decoding": {"max_new_tokens": 6}},
        "students": {"recipes": [{"labels": "hard"}, {"labels": "hard", "with_easy": True, "weigh_by": "confidence"}]},
    }
    tree = merged(tiny_tree(task_file), changes)
    tree["expert_training"] = training
    return tree


def merged(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The tree with nested changes laid over it."""
    out = dict(tree)
    for key, value in changes.items():
        out[key] = merged(out.get(key, {}), value) if isinstance(value, dict) else value
    return out
