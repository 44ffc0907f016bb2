"""One call from a configuration to a finished run folder; calling it again finishes or repeats nothing."""

import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rich.console import Console
from safetensors.torch import save

from ensemw2s.config import ExperimentConfig, canonical_hash
from ensemw2s.distributed import launch
from ensemw2s.errors import ConfigError, DataError, ModelError, RunError
from ensemw2s.models.loading.checkpoint import resolve
from ensemw2s.pipeline.evaluate import evaluate_run
from ensemw2s.pipeline.export import export_run
from ensemw2s.pipeline.listener import Listener
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.run_folder import (
    ITEMS,
    REPORT,
    RESULTS,
    check_folder,
    claim,
    faults,
    release,
    seal,
    write,
    write_manifest,
)
from ensemw2s.pipeline.run_log import Journal
from ensemw2s.pipeline.seeds.refit import exported
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.pipeline.seeds.students import train_students
from ensemw2s.records import Expert
from ensemw2s.report.page import write_report
from ensemw2s.results import Condition, Results, Timing
from ensemw2s.screen import Screen, say
from ensemw2s.storage.files import cache_home
from ensemw2s.storage.locks import run_lock
from ensemw2s.storage.store import Store


def run(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    store_root: Path | None = None,
    console: Console | None = None,
    listener: Listener | None = None,
) -> Results:
    """Run the experiment in `run_dir`, or what is missing of it, and return its results.

    Finished units come from the store (`store_root`, default `$ENSEMW2S_HOME/store`), whoever made them. Interrupted
    at any instant, the same call continues and ends in the same `results.json`, figure for figure. In each process of
    one launch (`accelerate launch`, torchrun) the same call trains together with the others; the main one writes.

    Args:
        listener: told of figures as they come, in the main process.

    Raises:
        ConfigError, DataError, ModelError: before any training, naming what to mend.
        RunError: the folder belongs to another configuration, is in use, or cannot be written.
    """
    launch.start()
    if launch.count() > 1:
        _prepare_launch(config)
    if launch.rank() == 0:
        return _run(config, run_dir, store_root, console, listener or Listener())
    with tempfile.TemporaryDirectory() as nowhere:  # what the others would write is the same
        return _run(config, Path(nowhere), store_root, None, Listener())


def _run(
    config: ExperimentConfig, run_dir: Path, store_root: Path | None, console: Console | None, listener: Listener
) -> Results:
    with _opened(config, run_dir, store_root, console, listener) as (store, journal):
        seeds = _train(config, run_dir, store, journal, listener)
        n_asked = sum(len(work.outcomes) for work in seeds) * (1 + len(config.evaluation.perturb))
        with journal.stage("evaluate", store, total=n_asked) as advance:
            before = [len(work.context.used) for work in seeds]
            results, items = evaluate_run(seeds, advance)
            student = exported(results, seeds)
            if launch.rank() == 0:
                write(run_dir, ITEMS, save(items))
                with launch.alone():
                    export_run(run_dir, results, *student)
        used = [u for work, n in zip(seeds, before, strict=True) for u in work.context.used[n:]]
        write_manifest(run_dir, "evaluate", config, used)
        write(run_dir, RESULTS, results.model_dump_json(indent=2) + "\n")
        write_report(results, journal.saved, run_dir / REPORT)
        if launch.rank() == 0:
            seal(run_dir)
        journal.progress.remove()
        journal.event("finished")
        listener.finished(results)
        return results


@contextmanager
def _opened(
    config: ExperimentConfig, run_dir: Path, store_root: Path | None, console: Console | None, listener: Listener
) -> Iterator[tuple[Store, Journal]]:
    """The store and the journal of a run folder that is this configuration's, and nobody else's meanwhile.

    Some checks need a training to have begun. Where one fails then, too, the folder is free again.
    """
    with ExitStack() as stack:
        stack.enter_context(run_lock(run_dir))
        check_folder(config, run_dir)
        stack.enter_context(listener)
        journal = Journal(run_dir, console)
        for fault in faults(run_dir):
            _warn(journal, console, f"{run_dir}: damaged ({fault}); it is written again")
        store = Store(store_root or cache_home() / "store", on_event=lambda message: _warn(journal, console, message))
        journal.event(
            "started",
            config_hash=canonical_hash(config),
            host=platform.node(),
            name=config.name,
            task=config.task.name,
            seeds=list(config.seeds),
        )
        try:
            yield store, journal
        except (ConfigError, DataError, ModelError) as error:
            journal.event("refused", message=str(error))
            release(run_dir)
            raise
        except Exception as error:
            with suppress(RunError):  # the first error is the one to tell
                journal.event("failed", message=str(error) or type(error).__name__)
            raise


def _train(
    config: ExperimentConfig, run_dir: Path, store: Store, journal: Journal, listener: Listener
) -> list[SeedWork]:
    """Every unit of a run, stage by stage; only the evaluation is left."""
    with journal.stage("prepare", store, total=None):
        prepared = prepare(config, store, lambda model, n: journal.tokens_read.update({model: n}))
        seeds = [SeedWork(prepared, store, seed) for seed in config.seeds]
    claim(config, run_dir)
    for note in prepared.task.notes:
        journal.event("data_warning", message=note)
        if launch.rank() == 0:
            _say(journal.console, note)
    write_manifest(run_dir, "prepare", config, [])
    n_experts, n_students = seeds[0].n_units
    stages: Sequence[tuple[str, int, Callable[[SeedWork], Iterator[Expert | Condition | None]]]] = (
        ("experts", n_experts, SeedWork.experts),
        ("labels", len(config.ensemble.methods), SeedWork.label),
        ("students", n_students, train_students),
    )
    for stage, n_units, work_of in stages:
        before = [len(work.context.used) for work in seeds]
        with journal.stage(stage, store, total=n_units * len(seeds)) as advance:
            for work in seeds:
                for made in work_of(work):
                    advance(1)
                    if isinstance(made, Expert):
                        listener.round(work.seed, made)
                    elif made is not None:
                        listener.student(work.seed, made, work.outcomes[made].ends[-1])
        used = [u for work, n in zip(seeds, before, strict=True) for u in work.context.used[n:]]
        write_manifest(run_dir, stage, config, used)
    return seeds


def train(config: ExperimentConfig, run_dir: Path, *, store_root: Path | None = None) -> Timing:
    """The units of a run alone: whoever runs it later finds them all in the store. Raises as `run` does."""
    listener = Listener()
    with _opened(config, run_dir, store_root, None, listener) as (store, journal):
        _train(config, run_dir, store, journal, listener)
        journal.progress.remove()
        journal.event("trained")
    assert journal.saved is not None  # it is written after every stage
    return journal.saved


def _prepare_launch(config: ExperimentConfig) -> None:
    auto = [n for n in ("expert_training", "student_training") if getattr(config, n).micro_batch_size == "auto"]
    if auto:
        raise ConfigError(
            f"{auto[0]}.micro_batch_size: auto finds a size for one process, and {launch.count()} were launched; "
            "give a number of examples"
        )
    if launch.rank() == 0:  # the library writes a model in the main process only, so it must be the one that fetches
        for model in (*config.pool, config.strong):
            if not (model.is_tfidf or model.is_features):
                resolve(model)
    launch.agreed(None)


def _warn(journal: Journal, console: Console | None, message: str) -> None:
    journal.event("damaged_artifact", message=message)
    _say(console, message)


def _say(console: Console | None, message: str) -> None:
    say(console or Screen(stderr=True), message, label="warning:", style="yellow")
