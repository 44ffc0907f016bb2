"""lm-evaluation-harness on a run's models: for one member equal to the harness's own `hf` model, task by task."""

import json
import random
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from ensemw2s.errors import ConfigError, ModelError
from ensemw2s.export.opened import open_generator
from tiny_answerers import classes_run, words_run

pytestmark = pytest.mark.integration
N_ITEMS = 24
TASKS = {
    "tiny_choice": {
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{q}}\nAnswer:",
        "doc_to_choice": ["no", "yes", "it depends"],
        "doc_to_target": "{{label}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "tiny_writing": {
        "output_type": "generate_until",
        "doc_to_text": "Question: {{q}}\nAnswer:",
        "doc_to_target": "yes",
        "generation_kwargs": {"until": ["\n", "$"], "max_gen_toks": 10, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
    "tiny_text": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{long}}",
        "metric_list": [{"metric": "byte_perplexity"}],
    },
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A folder of three tasks on one file."""
    folder, rng = tmp_path_factory.mktemp("tasks"), random.Random(0)
    rows = [
        {
            "q": "x" * 90 if i == 5 else f"Is {rng.randrange(99)} above {i}" + " or so" * (i % 5) + "?",
            "long": "It was a long day. " * (1 + i % 9),
            "label": i % 3,
        }
        for i in range(N_ITEMS)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, task in TASKS.items():
        data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"task": name, "test_split": "test"} | data | task))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return words_run(tmp_path_factory.mktemp("one") / "run", n_experts=1)


def evaluated(tasks: Path, model: str, **arguments):
    """Responses of a model to every item of every task, and the tasks' results."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    found = lm_eval.simple_evaluate(
        model=model,
        model_args=arguments,
        tasks=list(TASKS),
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        batch_size=4,
        bootstrap_iters=0,
    )
    responses = {name: [one["resps"] for one in samples] for name, samples in found["samples"].items()}
    return responses, found["results"]


@pytest.fixture(scope="module", autouse=True)
def registered():
    import_module("ensemw2s.services.harnesses.lm_eval_model")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", ["student", "ensemble"])
def test_one_member_gets_what_the_harness_gives_the_plain_model(run, tasks, part):
    # With its cache of logits, `hf` takes those of repeated windows of a text from the wrong positions.
    theirs, their_results = evaluated(
        tasks, "hf", pretrained=str(run / "student"), dtype="float32", max_length=96, device="cpu", logits_cache=False
    )
    ours, our_results = evaluated(tasks, "ensemw2s", run=str(run / part))
    for mine, other in zip(ours["tiny_choice"], theirs["tiny_choice"], strict=True):
        assert [log_prob for ((log_prob, _),) in mine] == pytest.approx([p for ((p, _),) in other], abs=1e-3)
        assert [greedy for ((_, greedy),) in mine] == [greedy for ((_, greedy),) in other]
    assert ours["tiny_writing"] == theirs["tiny_writing"]
    assert len({text for ((text,),) in ours["tiny_writing"]}) > N_ITEMS // 2
    for mine, other in zip(ours["tiny_text"], theirs["tiny_text"], strict=True):
        assert mine[0][0] == pytest.approx(other[0][0], rel=1e-4)
    for name, figures in our_results.items():
        for metric, value in figures.items():
            if isinstance(value, float):
                assert value == pytest.approx(their_results[name][metric], rel=1e-4), (name, metric)


@pytest.mark.filterwarnings("ignore")
def test_an_ensemble_is_scored_by_its_vote_and_the_command_line_finds_it(tmp_path, tasks):
    run = words_run(tmp_path / "run", n_experts=3)
    command = [sys.executable, "-m", "ensemw2s.services.harnesses.lm_eval_model", "--model", "ensemw2s"]
    command += ["--model_args", f"run={run / 'ensemble'}", "--tasks", "tiny_choice", "--include_path", str(tasks)]
    done = subprocess.run(
        [*command, "--log_samples", "--output_path", str(tmp_path / "out")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "tiny_choice" in done.stdout
    (path,) = (tmp_path / "out").rglob("samples_tiny_choice*.jsonl")
    generator = open_generator(run / "ensemble")
    for sample in map(json.loads, path.read_text().splitlines()):
        for argument, ((log_prob, _),) in zip(sample["arguments"].values(), sample["resps"], strict=True):
            context, continuation = argument["arg_0"], argument["arg_1"]
            ids = generator.tokenizer.encode(context + continuation)[-97:]
            scores = generator.score([ids], [len(ids) - len(generator.tokenizer.encode(continuation))])
            assert float(log_prob) == pytest.approx(float(scores.gold[-1].sum()), abs=1e-3)


def test_the_entry_point_is_the_model():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["lm_eval.models"]["ensemw2s"].partition(":")
    from lm_eval.api.registry import get_model

    assert getattr(import_module(module), name) is get_model("ensemw2s")


def test_what_is_not_supported_is_refused_by_name(run, tmp_path):
    from lm_eval.api.instance import Instance
    from lm_eval.api.registry import get_model

    model = get_model("ensemw2s")(run=str(run))

    def written(**settings):
        return model.generate_until([Instance("generate_until", {}, ("Why?", {"until": ["\n"]} | settings), 0)] * 2)

    with pytest.raises(ConfigError, match="num_beams: not supported"):
        written(num_beams=4)
    with pytest.raises(ConfigError, match="leave no room for a prompt in 96"):
        written(max_gen_toks=96)
    first, second = written(do_sample=True, temperature=2.0, max_gen_toks=20)
    assert first != second
    with pytest.raises(ModelError, match="answers by a class"):
        get_model("ensemw2s")(run=str(classes_run(tmp_path / "run")))
