"""A run in an experiment tracker while it goes on."""

import uuid
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

from ensemw2s.config import ExperimentConfig, canonical_hash
from ensemw2s.pipeline.listener import Listener
from ensemw2s.pipeline.run_folder import PACKAGES, write
from ensemw2s.records import Expert
from ensemw2s.results import Condition, Record, Results
from ensemw2s.services.tracking.entries import Entry, of_expert, of_results, of_student
from ensemw2s.services.tracking.track import files_of
from ensemw2s.services.tracking.trackers import Tracker, aside, check_installed, open_tracker
from ensemw2s.text import shell_line
from ensemw2s.training_end import TrainingEnd

LEDGER = "tracking.json"
"""In the run folder: what each tracker was told, so that a run that is resumed tells it nothing twice."""
FILES = "files"
"""The last that a tracker is told."""


class Told(Record):
    """What one tracker was told of one run."""

    config_hash: str
    name: str
    """Of the run in the tracker."""
    id: str
    """By which the tracker goes on with it."""
    entries: tuple[str, ...] = ()


class Ledger(Record):
    """What `tracking.json` holds."""

    trackers: dict[str, Told]


def listener_of(
    config: ExperimentConfig, run_dir: Path, warn: Callable[[str], None], *, folder: Path = Path("tensorboard")
) -> Listener:
    """Who logs this run as its `tracking` says.

    Args:
        warn: told where the tracker fails; the run goes on.
        folder: as of `track`.

    Raises:
        ConfigError: the tracker is not installed. Where it refuses, it is when the run is about to begin.
    """
    if config.tracking == "none":
        return Listener()
    check_installed(config.tracking, "tracking")
    return LiveTracking(config, run_dir, warn, folder)


class LiveTracking(Listener):
    """Tells a tracker of each round and student as it comes, and of the rest at the end.

    An entry is noted before it is told: a process that is killed in between loses it, and tells none twice.
    """

    def __init__(self, config: ExperimentConfig, run_dir: Path, warn: Callable[[str], None], folder: Path):
        self._config, self._run_dir, self._warn, self._folder = config, run_dir, warn, folder
        self._kind = config.tracking
        self._tracker: Tracker | None = None
        self._told = Told(config_hash="", name="", id="")
        self._entries: dict[str, None] = {}
        self._n_rounds, self._is_whole = 0, False

    def __enter__(self) -> "LiveTracking":
        config_hash = canonical_hash(self._config)
        told = self._ledger().trackers.get(self._kind)
        is_resumed = told is not None and told.config_hash == config_hash
        if told is None or not is_resumed:
            name = f"{self._config.name}-{config_hash[:8]}-{uuid.uuid4().hex[:6]}"
            told = Told(config_hash=config_hash, name=name, id="")
        self._told, self._entries = told, dict.fromkeys(told.entries)
        if FILES not in self._entries:  # or everything has been told
            settings = self._config.model_dump(mode="json") | {"versions": {name: version(name) for name in PACKAGES}}
            self._tracker = open_tracker(
                self._kind, self._config.name, told.name, settings, self._folder, resume=told.id, option="tracking"
            )
            self._told = told.model_copy(update={"id": self._tracker.id})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `Listener`."""
        self._ask(lambda tracker: tracker.finish(is_whole=self._is_whole))
        self._tracker = None

    def round(self, seed: int, expert: Expert) -> None:
        """See `Listener`."""
        self._n_rounds = max(self._n_rounds, expert.round + 1)
        self._tell(of_expert(seed, expert))

    def student(self, seed: int, condition: Condition, end: TrainingEnd | None) -> None:
        """See `Listener`."""
        self._tell(of_student(seed, condition, end, self._n_rounds))

    def finished(self, results: Results) -> None:
        """See `Listener`."""
        for entry in of_results(results):
            self._tell(entry)
        self._once(FILES, lambda tracker: tracker.keep(files_of(self._run_dir)))
        self._is_whole = True

    def _tell(self, entry: Entry) -> None:
        self._once(entry.name, lambda tracker: tracker.log(entry.metrics, entry.step))

    def _once(self, name: str, call: Callable[[Tracker], None]) -> None:
        if name in self._entries or self._tracker is None:
            return

        def noted(tracker: Tracker) -> None:
            self._entries[name] = None
            self._save()
            call(tracker)

        self._ask(noted)

    def _ask(self, call: Callable[[Tracker], None]) -> None:
        """One call of the tracker. Where it fails, it is asked no more."""
        if self._tracker is None:
            return
        try:
            with aside():
                call(self._tracker)
        except Exception as error:  # of another package, each with its own
            self._tracker = None
            command = shell_line(["ensemw2s", "track", str(self._run_dir), "--to", self._kind])
            reason = " ".join(str(error).split())[:300]
            self._warn(
                f"tracking: {self._kind} fails ({type(error).__name__}: {reason}); the run goes on without it, and "
                f"once it is finished can be logged with: {command}"
            )

    def _ledger(self) -> Ledger:
        try:
            return Ledger.model_validate_json((self._run_dir / LEDGER).read_bytes())
        except (OSError, ValueError):  # none, or damaged: this is another run to the tracker
            return Ledger(trackers={})

    def _save(self) -> None:
        told = self._told.model_copy(update={"entries": tuple(self._entries)})
        ledger = Ledger(trackers=self._ledger().trackers | {self._kind: told})
        write(self._run_dir, LEDGER, ledger.model_dump_json(indent=1) + "\n")
