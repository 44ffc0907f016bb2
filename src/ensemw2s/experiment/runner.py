"""One call from a configuration to a finished run folder; calling it again finishes or repeats nothing."""

import json
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import yaml
from rich.console import Console

from ensemw2s import processes
from ensemw2s.config import ExperimentConfig, canonical_hash
from ensemw2s.data.balance import rare_classes
from ensemw2s.errors import ConfigError, ModelError, RunError
from ensemw2s.experiment.budget import curve_method
from ensemw2s.experiment.deliver import export_ensemble, export_recommended
from ensemw2s.experiment.evaluate import PACKAGES, evaluate
from ensemw2s.experiment.files import run_lock, write_atomic
from ensemw2s.experiment.journal import Journal
from ensemw2s.experiment.opinions import answer_opinions, class_opinions, kept
from ensemw2s.experiment.people import people_among, people_note
from ensemw2s.experiment.prepare import Prepared, prepare, zero_shot
from ensemw2s.experiment.stages import Seed
from ensemw2s.experiment.store import Store
from ensemw2s.experiment.words.deliver import export_answer_ensemble, export_answerer
from ensemw2s.experiment.words.evaluate import evaluate_answers
from ensemw2s.experiment.words.prepare import AnswerPrepared, prepare_answers
from ensemw2s.experiment.words.stages import AnswerSeed
from ensemw2s.models.checkpoint import resolve
from ensemw2s.models.folders import cache_home
from ensemw2s.report.page import write_report
from ensemw2s.results import Results, Timing


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
    processes.start()
    if processes.count() > 1:
        _prepare_launch(config)
    if processes.rank() == 0:
        return _run(config, run_dir, store_root, console)
    with tempfile.TemporaryDirectory() as nowhere:  # what the others would write is the same
        return _run(config, Path(nowhere), store_root, None)


def _run(config: ExperimentConfig, run_dir: Path, store_root: Path | None, console: Console | None) -> Results:
    with run_lock(run_dir):
        _claim(config, run_dir)
        journal = Journal(run_dir, console)
        store = Store(store_root or cache_home() / "store", on_event=lambda message: _warn(journal, console, message))
        journal.event("started", config_hash=canonical_hash(config), host=platform.node())
        with journal.stage("prepare", store, total=0):
            kind = _Words if config.is_generation else _Classes
            experiment = kind(config, store, lambda model, n: journal.tokens_read.update({model: n}))
        _manifest(run_dir, "prepare", config, [])
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
            _manifest(run_dir, stage, config, [u for s, n in zip(seeds, before, strict=True) for u in s.used[n:]])
        with journal.stage("evaluate", store, total=0):
            before = [len(seed.used) for seed in seeds]
            results = experiment.evaluate()
            if processes.rank() == 0:
                with processes.alone():
                    experiment.deliver(run_dir, results)
        _manifest(run_dir, "evaluate", config, [u for s, n in zip(seeds, before, strict=True) for u in s.used[n:]])
        write_atomic(run_dir / "results.json", results.model_dump_json(indent=2) + "\n")
        write_report(results, read_timing(run_dir), run_dir / "report.html")
        journal.event("finished")
        return results


def read_results(run_dir: Path) -> Results:
    """The results of a finished run. Raises RunError where there are none, or of another version."""
    path = run_dir / "results.json"
    try:
        return Results.model_validate_json(path.read_text())
    except FileNotFoundError:
        raise RunError(
            f"{run_dir}: no finished run there (results.json is missing); finish it with: "
            f"ensemw2s run CONFIG --run-dir {run_dir}"
        ) from None
    except (ValueError, OSError) as error:
        first = str(error).splitlines()[0]
        raise RunError(f"{path}: not a results file of this version ({first}); run the experiment again") from None


def read_timing(run_dir: Path) -> Timing | None:
    """Seconds and memory of a run, where they are known."""
    try:
        return Timing.model_validate_json((run_dir / "timing.json").read_text())
    except (FileNotFoundError, ValueError):
        return None


def _prepare_launch(config: ExperimentConfig) -> None:
    auto = [n for n in ("expert_training", "student_training") if getattr(config, n).micro_batch_size == "auto"]
    if auto:
        raise ConfigError(
            f"{auto[0]}.micro_batch_size: auto finds a size for one process, and {processes.count()} were launched; "
            "give a number of examples"
        )
    if processes.rank() == 0:  # the library writes a model in the main process only, so it must be the one that fetches
        for model in (config.weak, config.strong):
            resolve(model)
    processes.agreed(None)


def _claim(config: ExperimentConfig, run_dir: Path) -> None:
    """Write config.yaml into a new folder; refuse a folder that holds another configuration's run."""
    path = run_dir / "config.yaml"
    mine = canonical_hash(config)
    if path.exists():
        try:
            theirs = str(yaml.safe_load(path.read_text())["_run"]["config_hash"])
        except (yaml.YAMLError, KeyError, TypeError, ValueError, OSError):
            raise RunError(
                f"{path}: not the configuration of a run; move the file away or choose another --run-dir"
            ) from None
        if theirs != mine:
            raise RunError(
                f"{run_dir}: this folder holds a run of another configuration ({theirs[:12]}, yours is {mine[:12]}); "
                "choose another --run-dir, or remove the folder (what both share is kept in the store)"
            )
        return
    tree = config.model_dump(mode="json")
    tree["_run"] = {"config_hash": mine, "versions": {name: version(name) for name in PACKAGES}}
    write_atomic(path, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def _manifest(run_dir: Path, stage: str, config: ExperimentConfig, used: Sequence[tuple[str, str]]) -> None:
    record = {
        "stage": stage,
        "config_hash": canonical_hash(config),
        "artifacts": [{"kind": kind, "key": key} for kind, key in used],
    }
    write_atomic(run_dir / "stages" / f"{stage}.json", json.dumps(record, indent=2) + "\n")


class _Classes:
    """An experiment whose questions are answered by a class."""

    def __init__(self, config: ExperimentConfig, store: Store, on_tokens: Callable[[str, int], None]):
        self.prepared, self.store = prepare(config, store, on_tokens), store
        self.seeds = [Seed(self.prepared, store, seed) for seed in config.seeds]

    def evaluate(self) -> Results:
        prepared = self.prepared
        notes = _notes(prepared)
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

    def evaluate(self) -> Results:
        people, names = self.prepared.people, self.prepared.names
        drawn = {s.seed: [names[i] for i in s.draw.hard_unlabelled.tolist()] for s in self.seeds}
        notes = _notes(self.prepared)
        notes += people_note({seed: len(people_among(people, each)) for seed, each in drawn.items()}, len(people))
        opined = {(s.seed, m): kept(s, answer_opinions(s, m)) for s in self.seeds for m in s.outcome.ensembles}
        method = curve_method(self.prepared.config.ensemble.methods)
        return evaluate_answers(self.prepared, self.seeds, notes, [opined[s.seed, method] for s in self.seeds])

    def deliver(self, run_dir: Path, results: Results) -> None:
        export_answerer(run_dir / "student", self.prepared, results, self.seeds)
        export_answer_ensemble(run_dir / "ensemble", self.prepared, results, self.seeds)


def _notes(prepared: Prepared | AnswerPrepared) -> list[str]:
    """What a reader must know and no figure says."""
    notes = []
    if prepared.config.is_tiny:
        notes.append("The models are tiny, with random weights: no figure of this run means anything.")
    if prepared.config.split.kind == "random":
        notes.append(
            "The split is random: the labelled, the unlabelled and both tests are samples of one distribution, and "
            "where this page says easy or hard, ID or OOD, nothing is harder than the rest."
        )
    weak, strong = prepared.weak.backbone, prepared.strong.backbone
    if weak.fingerprint == strong.fingerprint and weak.n_layers != strong.n_layers:
        notes.append(
            f"The weak and the strong model are two depths of one network ({weak.n_layers} and {strong.n_layers} "
            f"layers of {prepared.strong.config.model}) with small trained parts."
        )
    if prepared.task.split_uses_labels:
        notes.append("The difficulty was computed from the true labels of the hard side (split_uses_labels).")
    if "hard_pool" not in prepared.split.sealed:
        notes.append(
            "The true answers of the unlabelled questions are unknown: there is no ceiling, so no gap recovered, and "
            "nobody can say how many of the weak labels are right."
        )
    if "ood_test" not in prepared.split.pools:
        notes.append(
            "No test set of the unlabelled kind of question: how any row does on them is unknown. The recommended row "
            "is chosen on easy validation data, and ID is held out from the labelled data. A hundred unlabelled "
            "questions answered by hand, as task.test, would tell."
        )
    notes.append(
        "Intervals are over seeds (each draws its own training part from the pools) and test items, for one split; "
        "another split.seed would move all rows together."
    )
    return notes


def _warn(journal: Journal, console: Console | None, message: str) -> None:
    journal.event("damaged_artifact", message=message)
    (console or Console(stderr=True)).print(f"[yellow]warning:[/] {message}", highlight=False, soft_wrap=True)
