"""Several processes train as one: the same weights, whatever their number, also resumed on another number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ensemw2s.config import ExperimentConfig
from ensemw2s.distributed import launch
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import read_results
from tiny_run import comparison_rows, merged, tiny_tree, tiny_words_tree, write_jsonl

HERE = Path(__file__).parent
TWO = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d"]
TWO += ["--rdzv-endpoint", "localhost:0"]


def run_launched(
    *arguments: object, n: int = 1, sharded: bool = False, **also: str
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_FSDP": str(sharded)} | also
    command = [sys.executable, *(TWO if n == 2 else []), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)


def trained(folder: Path, name: str, *, n: int, sharded: bool = False, store: Path | None = None, stop: int = 0):
    output = folder / f"{name}.safetensors"
    extra = [stop] if stop else []
    done = run_launched(HERE / "launched.py", output, store or folder / f"store-{name}", *extra, n=n, sharded=sharded)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(output)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, torch.Tensor]:
    return trained(tmp_path_factory.mktemp("alone"), "one", n=1)


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """The loss to 1e-6; weights less closely: Adam divides rounding errors by gradients that are hardly there."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
        if name.endswith("gold"):
            assert float(found[name].mean()) == pytest.approx(float(tensor.mean()), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True], ids=["data-parallel", "sharded"])
def test_two_processes_give_the_weights_and_losses_of_one(tmp_path, alone, sharded):
    assert_same(trained(tmp_path, "two", n=2, sharded=sharded), alone)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [((2, True), (1, False)), ((1, False), (2, False))])
def test_a_training_resumes_on_another_number_of_processes(tmp_path, alone, first, then):
    store = tmp_path / "store"
    stopped = trained(tmp_path, "stopped", n=first[0], sharded=first[1], store=store, stop=7)
    assert stopped == {}
    assert len(list((store / "checkpoints").glob("*/*"))) == 2
    assert_same(trained(tmp_path, "resumed", n=then[0], sharded=then[1], store=store), alone)


@pytest.mark.slow
@pytest.mark.parametrize("tree", [tiny_tree, tiny_words_tree], ids=["classes", "words"])
def test_a_launched_run_has_the_figures_of_a_plain_one(tmp_path, tree):
    without_dropout = {"expert_training": {"dropout": 0.0}, "student_training": {"dropout": 0.0}, "seeds": [0]}
    config = merged(tree(write_jsonl(tmp_path / "rows.jsonl", comparison_rows())), without_dropout)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    home = tmp_path / "home"
    done = run_launched("-m", "ensemw2s", "run", path, "--run-dir", tmp_path / "two", n=2, ENSEMW2S_HOME=str(home))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Report:") == 1
    plain = run(ExperimentConfig.model_validate(config), tmp_path / "one", store_root=tmp_path / "store")
    together = read_results(tmp_path / "two")
    for a, b in zip(plain.rows, together.rows, strict=True):
        assert a.key == b.key
        for part, figures in a.parts.items():
            for name, figure in figures.items():
                same = pytest.approx(b.parts[part][name].interval.mean, abs=0.03)
                assert figure.interval.mean == same, (a.key, part, name)
    assert (tmp_path / "two" / "student").is_dir()
    # What was made together is what a single process goes on with.
    again = run_launched("-m", "ensemw2s", "run", path, "--run-dir", tmp_path / "again", ENSEMW2S_HOME=str(home))
    assert again.returncode == 0
    assert read_results(tmp_path / "again") == together


def test_a_size_found_by_trying_is_refused_in_a_launch_before_any_work(tmp_path):
    config = tiny_tree(write_jsonl(tmp_path / "rows.jsonl", comparison_rows()))
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(merged(config, {"student_training": {"micro_batch_size": "auto"}})))
    done = run_launched("-m", "ensemw2s", "run", path, "--run-dir", tmp_path / "run", n=2)
    assert done.returncode != 0
    assert "student_training.micro_batch_size: auto finds a size for one process, and 2 were launched" in done.stderr
    assert not (tmp_path / "run").exists()


def test_alone_every_exchange_is_the_identity():
    value = torch.arange(5)
    assert (launch.count(), launch.rank(), launch.is_sharded()) == (1, 0, False)
    assert launch.share(value) is value
    assert launch.gathered(value) is value
    assert launch.agreed("x") == "x"
