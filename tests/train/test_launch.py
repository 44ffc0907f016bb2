"""Several processes train as one: the same weights, whatever their number, also resumed on another number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from launched import PATIENT, TRAINING, train_all
from safetensors.torch import load_file

from ensemw2s.config import ExperimentConfig
from ensemw2s.distributed import launch
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import read_results
from forked import command, in_launch
from tiny_run import comparison_rows, merged, tiny_tree, tiny_words_tree, write_jsonl

TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d"]
TORCHRUN += ["--rdzv-endpoint", "localhost:0", "-m", "ensemw2s"]


def torchrun(arguments: list[object], folder: Path, home: Path) -> list[int]:
    """Call the command line in two processes, as a user starts them."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ENSEMW2S_HOME": str(home)}
    folder.mkdir()
    with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
        line = [sys.executable, *TORCHRUN, *map(str, arguments)]
        return [subprocess.run(line, env=environment, stdout=out, stderr=err, timeout=280, check=False).returncode]


def forked(arguments: list[object], folder: Path, home: Path) -> list[int]:
    """The same in two forks of this process, which has imported everything."""

    def member() -> int:
        os.environ["ENSEMW2S_HOME"] = str(home)
        return command(arguments, folder)

    return in_launch(2, member)


def trained(
    folder: Path, name: str, *, n: int, sharded: bool = False, store: Path | None = None, stop: int = 0, how=TRAINING
):
    output, store = folder / f"{name}.safetensors", store or folder / f"store-{name}"
    if n == 1:
        train_all(output, store, stop or None, how)
    else:
        assert in_launch(n, lambda: train_all(output, store, stop or None, how), sharded=sharded) == [0] * n
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


@pytest.mark.cluster
def test_all_processes_end_a_training_with_patience_at_the_step_of_one_also_resumed(tmp_path):
    one = trained(tmp_path, "one", n=1, how=PATIENT)
    ends = [one[f"{adapter}/end"] for adapter in ("lora", "full")]
    assert all(4 <= int(end[0]) < 36 for end in ends)  # of 12 epochs of 3 steps
    assert_same(trained(tmp_path, "two", n=2, how=PATIENT), one)
    store = tmp_path / "store"
    assert trained(tmp_path, "stopped", n=2, sharded=True, store=store, stop=6, how=PATIENT) == {}
    assert_same(trained(tmp_path, "resumed", n=2, sharded=True, store=store, how=PATIENT), one)


SMALL = {
    "seeds": [0],
    "ensemble": {"n_rounds": 2, "methods": ["single", "boosting"]},
    "expert_training": {"dropout": 0.0},
    "student_training": {"dropout": 0.0},
}


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("tree", "start"), [(tiny_tree, torchrun), (tiny_words_tree, forked)], ids=["classes", "words"]
)
def test_a_launched_run_has_the_figures_of_a_plain_one(tmp_path, tree, start):
    config = merged(tree(write_jsonl(tmp_path / "rows.jsonl", comparison_rows())), SMALL)
    config["students"]["recipes"] = config["students"]["recipes"][-1:]
    path, home = tmp_path / "config.yaml", tmp_path / "home"
    path.write_text(yaml.safe_dump(config))
    codes = start(["run", path, "--run-dir", tmp_path / "two"], tmp_path / "said", home)
    assert set(codes) == {0}, (tmp_path / "said" / "stderr").read_text()[-3000:]
    assert (tmp_path / "said" / "stdout").read_text().count("Report:") == 1
    config = ExperimentConfig.model_validate(config)
    plain = run(config, tmp_path / "one", store_root=tmp_path / "store")
    together = read_results(tmp_path / "two")
    for a, b in zip(plain.rows, together.rows, strict=True):
        assert a.key == b.key
        for part, figures in a.parts.items():
            for name, figure in figures.items():
                same = pytest.approx(b.parts[part][name].interval.mean, abs=0.03)
                assert figure.interval.mean == same, (a.key, part, name)
    assert (tmp_path / "two" / "student").is_dir()
    # What was made together is what a single process goes on with.
    assert run(config, tmp_path / "again", store_root=home / "store") == together


def test_a_size_found_by_trying_is_refused_in_a_launch_before_any_work(tmp_path):
    config = tiny_tree(write_jsonl(tmp_path / "rows.jsonl", comparison_rows()))
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(merged(config, {"student_training": {"micro_batch_size": "auto"}})))
    codes = forked(["run", path, "--run-dir", tmp_path / "run"], tmp_path / "said", tmp_path / "home")
    assert 0 not in codes
    message = "student_training.micro_batch_size: auto finds a size for one process, and 2 were launched"
    assert message in (tmp_path / "said" / "stderr").read_text()
    assert not (tmp_path / "run").exists()


def test_alone_every_exchange_is_the_identity():
    value = torch.arange(5)
    assert (launch.count(), launch.rank(), launch.is_sharded()) == (1, 0, False)
    assert launch.share(value) is value
    assert launch.gathered(value) is value
    assert launch.agreed("x") == "x"
