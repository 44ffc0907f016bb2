"""One call from a configuration to a finished run folder; calling it again finishes or repeats nothing."""

import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from safetensors.torch import save
from torch import Tensor

from ensemw2s.config import ExperimentConfig, canonical_hash
from ensemw2s.data.balance import rare_classes
from ensemw2s.data.people import people_among, people_note
from ensemw2s.distributed import launch
from ensemw2s.errors import ConfigError, ModelError
from ensemw2s.evaluation.budget import curve_method
from ensemw2s.forms.classification.side import zero_shot
from ensemw2s.forms.generation.prepare import prepare_answers
from ensemw2s.models.loading.checkpoint import resolve
from ensemw2s.pipeline.deliver import export_ensemble, export_recommended
from ensemw2s.pipeline.evaluate import evaluate
from ensemw2s.pipeline.generation.deliver import export_answer_ensemble, export_answerer
from ensemw2s.pipeline.generation.evaluate import evaluate_answers
from ensemw2s.pipeline.generation.stages import AnswerSeed
from ensemw2s.pipeline.notes import chosen_notes, run_notes
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.routing_signals import answer_opinions, class_opinions, kept
from ensemw2s.pipeline.run_folder import (
    ITEMS,
    REPORT,
    RESULTS,
    check_folder,
    claim,
    faults,
    seal,
    write,
    write_manifest,
)
from ensemw2s.pipeline.run_log import Journal
from ensemw2s.pipeline.stages import Seed
from ensemw2s.report.page import write_report
from ensemw2s.results import Results, Timing
from ensemw2s.screen import Screen, say
from ensemw2s.storage.files import cache_home
from ensemw2s.storage.locks import run_lock
from ensemw2s.storage.store import Store


def run(
    config: ExperimentConfig, run_dir: Path, *, store_root: Path | None = None, console: Console | None = None
) -> Results:
    """Run the experiment in `run_dir`, or what is missing of it, and return its results.

    Finished units come from the store (`store_root`, default `$ENSEMW2S_HOME/store`), whoever made them. Interrupted
    at any instant, the same call continues and ends in the same `results.json`, figure for figure. In each process of
    one launch (`accelerate launch`, torchrun) the same call trains together with the others; the main one writes.

    Raises:
        ConfigError, DataError, ModelError: before any training, naming what to mend.
        RunError: the folder belongs to another configuration, is in use, or cannot be written.
    """
    launch.start()
    if launch.count() > 1:
        _prepare_launch(config)
    if launch.rank() == 0:
        return _run(config, run_dir, store_root, console)
    with tempfile.TemporaryDirectory() as nowhere:  # what the others would write is the same
        return _run(config, Path(nowhere), store_root, None)


def _run(config: ExperimentConfig, run_dir: Path, store_root: Path | None, console: Console | None) -> Results:
    with _opened(config, run_dir, store_root, console) as (store, journal):
        experiment = _train(config, run_dir, store, journal)
        with journal.stage("evaluate", store, total=0):
            seeds = experiment.seeds
            before = [len(seed.used) for seed in seeds]
            results, items = experiment.evaluate()
            if launch.rank() == 0:
                write(run_dir, ITEMS, save(items))
                with launch.alone():
                    experiment.deliver(run_dir, results)
        used = [u for s, n in zip(seeds, before, strict=True) for u in s.used[n:]]
        write_manifest(run_dir, "evaluate", config, used)
        write(run_dir, RESULTS, results.model_dump_json(indent=2) + "\n")
        write_report(results, journal.saved, run_dir / REPORT)
        if launch.rank() == 0:
            seal(run_dir)
        journal.event("finished")
        return results


@contextmanager
def _opened(
    config: ExperimentConfig, run_dir: Path, store_root: Path | None, console: Console | None
) -> Iterator[tuple[Store, Journal]]:
    """The store and the journal of a run folder that is this configuration's, and nobody else's meanwhile."""
    with run_lock(run_dir):
        check_folder(config, run_dir)
        journal = Journal(run_dir, console)
        for fault in faults(run_dir):
            _warn(journal, console, f"{run_dir}: damaged ({fault}); it is written again")
        store = Store(store_root or cache_home() / "store", on_event=lambda message: _warn(journal, console, message))
        journal.event("started", config_hash=canonical_hash(config), host=platform.node())
        yield store, journal


def _train(config: ExperimentConfig, run_dir: Path, store: Store, journal: Journal) -> "_Classes | _Words":
    """Every unit of a run, stage by stage; only the evaluation is left."""
    with journal.stage("prepare", store, total=0):
        kind = _Words if config.is_generation else _Classes
        experiment = kind(config, store, lambda model, n: journal.tokens_read.update({model: n}))
    claim(config, run_dir)
    for note in experiment.prepared.task.notes:
        journal.event("data_warning", message=note)
        if launch.rank() == 0:
            _say(journal.console, note)
    write_manifest(run_dir, "prepare", config, [])
    seeds = experiment.seeds
    n_experts, n_students = seeds[0].n_units
    n_methods = len(config.ensemble.methods)
    work: Sequence[tuple[str, int, Callable[[Seed | AnswerSeed], Iterator[None]]]] = (
        ("experts", n_experts, lambda seed: seed.experts()),
        ("labels", n_methods, lambda seed: seed.label()),
        ("students", n_students, lambda seed: seed.students()),
    )
    for stage, n_units, of_seed in work:
        before = [len(seed.used) for seed in seeds]
        with journal.stage(stage, store, total=n_units * len(seeds)) as advance:
            for seed in seeds:
                for _ in of_seed(seed):
                    advance(1)
        write_manifest(run_dir, stage, config, [u for s, n in zip(seeds, before, strict=True) for u in s.used[n:]])
    return experiment


def train(config: ExperimentConfig, run_dir: Path, *, store_root: Path | None = None) -> Timing:
    """The units of a run alone: whoever runs it later finds them all in the store. Raises as `run` does."""
    with _opened(config, run_dir, store_root, None) as (store, journal):
        _train(config, run_dir, store, journal)
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
        for model in (config.weak, config.strong):
            resolve(model)
    launch.agreed(None)


class _Classes:
    """An experiment whose questions are answered by a class."""

    def __init__(self, config: ExperimentConfig, store: Store, on_tokens: Callable[[str, int], None]):
        self.prepared, self.store = prepare(config, store, on_tokens), store
        self.seeds = [Seed(self.prepared, store, seed) for seed in config.seeds]

    def evaluate(self) -> tuple[Results, dict[str, Tensor]]:
        prepared = self.prepared
        notes = run_notes(prepared) + chosen_notes([s.outcome for s in self.seeds])
        notes += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in rare_classes(prepared.split.easy_counts)]
        try:
            row = prepared.split.draw(prepared.config.seeds[0]).easy_val[:1]
            zero_shot(prepared.strong, prepared.task.choices, row)
        except ModelError as error:
            notes.append(f"There is no zero-shot row: {error}")
        notes += people_note({s.seed: int((s.people >= 0).sum()) for s in self.seeds}, len(prepared.people))
        opined = {(s.seed, m): kept(s, class_opinions(s, m)) for s in self.seeds for m in s.outcome.ensembles}
        method = curve_method(prepared.config.ensemble.methods)
        return evaluate(prepared, [s.outcome for s in self.seeds], notes, [opined[s.seed, method] for s in self.seeds])

    def deliver(self, run_dir: Path, results: Results) -> None:
        export_recommended(run_dir / "student", self.prepared, results, self.seeds, self.store)
        export_ensemble(run_dir / "ensemble", self.prepared, results, self.seeds)


class _Words:
    """An experiment whose questions are answered in words."""

    def __init__(self, config: ExperimentConfig, store: Store, on_tokens: Callable[[str, int], None]):
        self.prepared, self.store = prepare_answers(config, store, on_tokens), store
        self.seeds = [AnswerSeed(self.prepared, store, seed) for seed in config.seeds]

    def evaluate(self) -> tuple[Results, dict[str, Tensor]]:
        people, names = self.prepared.people, self.prepared.names
        drawn = {s.seed: [names[i] for i in s.draw.hard_unlabelled.tolist()] for s in self.seeds}
        notes = run_notes(self.prepared) + chosen_notes([s.outcome for s in self.seeds])
        notes += people_note({seed: len(people_among(people, each)) for seed, each in drawn.items()}, len(people))
        opined = {(s.seed, m): kept(s, answer_opinions(s, m)) for s in self.seeds for m in s.outcome.ensembles}
        method = curve_method(self.prepared.config.ensemble.methods)
        return evaluate_answers(self.prepared, self.seeds, notes, [opined[s.seed, method] for s in self.seeds])

    def deliver(self, run_dir: Path, results: Results) -> None:
        export_answerer(run_dir / "student", self.prepared, results, self.seeds)
        export_answer_ensemble(run_dir / "ensemble", self.prepared, results, self.seeds)


def _warn(journal: Journal, console: Console | None, message: str) -> None:
    journal.event("damaged_artifact", message=message)
    _say(console, message)


def _say(console: Console | None, message: str) -> None:
    say(console or Screen(stderr=True), message, label="warning:", style="yellow")
