"""The runs and leaderboards below a folder, as their own records tell of them. Nothing is written."""

import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ensemw2s.errors import RunError
from ensemw2s.evaluation.compare import compared
from ensemw2s.pipeline.run_folder import EVENTS, PROGRESS, REPORT, RESULTS, read_results
from ensemw2s.pipeline.run_log import read_events
from ensemw2s.results import Results, RunComparison
from ensemw2s.results.conditions import CEILING, STRONG_ON_EASY
from ensemw2s.results.leaderboard import Leaderboard
from ensemw2s.results.overview import BoardOverview, Headline, Overview, RunOverview, RunState
from ensemw2s.results.progress import Progress
from ensemw2s.storage.checksums import FILE
from ensemw2s.storage.locks import is_locked
from ensemw2s.text import is_text

BOARD, PAGE = "leaderboard.json", "leaderboard.html"
PAGES = (REPORT, PAGE)
"""The files that are shown."""
DEPTH = 4
"""Folders in one another that are looked through: `runs` of a leaderboard in a folder of leaderboards is the third."""
MOST_FOLDERS = 5000
_Signature = tuple[int, ...]


@dataclass
class Folder:
    """A folder that is looked at again and again: what did not change is not read anew."""

    root: Path
    """Without links."""
    _found: dict[str, Path] = field(default_factory=dict[str, Path])
    _read: dict[Path, tuple[_Signature | None, Any]] = field(default_factory=dict[Path, Any])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def overview(self) -> Overview:
        """All runs and leaderboards as they are now."""
        with self._lock:  # of several browsers each would do the same work
            runs: dict[str, Path] = {}
            boards: dict[str, Path] = {}
            walk = _Walk(self.root)
            for folder, names in walk:
                name = "" if folder == self.root else folder.relative_to(self.root).as_posix()
                if EVENTS in names:
                    runs[name] = folder
                if BOARD in names:
                    boards[name] = folder
            self._found = runs | boards
            told = [run for name, folder in runs.items() if (run := self._run(name, folder)) is not None]
            told.sort(key=lambda run: (run.state != "running", -run.time))
            return Overview(
                folder=str(self.root),
                runs=tuple(told),
                leaderboards=tuple(self._board(name, folder) for name, folder in sorted(boards.items())),
                is_cut=walk.is_cut,
            )

    def comparison(self, names: Sequence[str]) -> RunComparison | None:
        """The finished ones among these runs side by side; None where there are fewer than two."""
        runs: list[tuple[str, Results]] = []
        skipped: list[str] = []
        for name in dict.fromkeys(names):
            try:
                runs.append((self._shown(name), read_results(self._found[name])))
            except (KeyError, RunError):
                skipped.append(self._shown(name))
        return compared(runs, skipped) if len(runs) > 1 else None

    def page(self, name: str, file: str) -> bytes | None:
        """A report or a leaderboard's page; None of what is no such file of a folder that was found."""
        folder = self._found.get(name)
        if folder is None or file not in PAGES:
            return None
        path = folder / file
        try:
            if path.resolve(strict=True) != path:  # by now a link, or in one
                return None
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as opened:
                return opened.read() if stat.S_ISREG(os.fstat(fd).st_mode) else None
        except (OSError, RuntimeError):
            return None

    def _shown(self, name: str) -> str:
        return name or self.root.name

    def _run(self, name: str, folder: Path) -> RunOverview | None:
        """None where a leaderboard had the units trained alone: its runs have the figures."""
        is_running = is_locked(folder)  # first: what ended after it has its last event
        events: list[dict[str, Any]] = self._unchanged(folder / EVENTS, lambda: read_events(folder)) or []
        last = events[-1] if events else {}
        if last.get("event") == "trained" and not is_running:
            return None
        begun = next((event for event in reversed(events) if event.get("event") == "started"), {})
        state, message, headline = self._state(folder, last, is_running=is_running)
        progress: Progress | None = None
        if state in ("running", "interrupted"):
            progress = self._unchanged(folder / PROGRESS, lambda: _progress(folder))
            if progress is not None and progress.time < _time(begun):  # of a time before
                progress = None
        seeds = begun.get("seeds")
        return RunOverview(
            folder=name,
            name=str(begun.get("name", "")) or self._shown(name),
            task=str(begun.get("task", "")),
            seeds=tuple(s for s in seeds if isinstance(s, int)) if isinstance(seeds, list) else (),
            state=state,
            message=message,
            time=_time(last),
            progress=progress,
            headline=headline,
        )

    def _state(self, folder: Path, last: dict[str, Any], *, is_running: bool) -> tuple[RunState, str, Headline | None]:
        headline, fault = None, ""
        if _is_file(folder / FILE):  # the last that a run writes
            try:
                headline = self._unchanged(folder / RESULTS, lambda: _headline(folder))
            except RunError as error:
                fault = str(error)
            else:
                fault = "" if headline is not None else f"{RESULTS} is missing"
        if is_running:
            return "running", "", headline
        if headline is not None:
            return "finished", "", headline
        if last.get("event") in ("refused", "failed"):
            return "failed", str(last.get("message", "")), None
        return ("damaged", fault, None) if fault else ("interrupted", "", None)

    def _board(self, name: str, folder: Path) -> BoardOverview:
        board: Leaderboard | None = self._unchanged(folder / BOARD, lambda: _leaderboard(folder))
        best = board.lines[0] if board is not None and board.lines else None
        return BoardOverview(
            folder=name,
            is_running=is_locked(folder),
            n_methods=0 if board is None else len(board.methods),
            tasks=() if board is None else tuple(task.name for task in board.tasks),
            best="" if best is None else best.method,
            gain=None if best is None else best.gain,
            has_page=_is_file(folder / PAGE),
            message="" if board is not None else f"{BOARD} is damaged, or of another version",
        )

    def _unchanged(self, path: Path, read: Callable[[], Any]) -> Any:
        """What was read of a file, read again only where the file is another; None where there is none."""
        try:
            now = path.lstat()
        except OSError:
            return None
        if not stat.S_ISREG(now.st_mode):  # a link may lead out of the folder, and a pipe would be waited for
            return None
        signature = (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
        before = self._read.get(path)
        if before is None or before[0] != signature:
            before = self._read[path] = (signature, read())
        return before[1]


class _Walk:
    """A folder and those in it, each with the names of its files. Links are not followed, and a run has no others."""

    def __init__(self, root: Path):
        self._root = root
        self.is_cut = False

    def __iter__(self) -> Iterator[tuple[Path, set[str]]]:
        waiting = [(self._root, 0)]
        for n_seen in range(MOST_FOLDERS + 1):
            if not waiting:
                return
            if n_seen == MOST_FOLDERS:
                self.is_cut = True
                return
            folder, depth = waiting.pop()
            try:
                entries = [entry for entry in os.scandir(folder) if is_text(entry.name)]
            except OSError:
                continue
            files = {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
            yield folder, files
            if depth < DEPTH and EVENTS not in files:
                waiting += [
                    (folder / entry.name, depth + 1)
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
                ]


def _headline(folder: Path) -> Headline:
    """Raises RunError where the results are damaged."""
    results = read_results(folder)
    rows = {row.condition: row for row in results.rows}

    def figure(row: Any) -> Any:
        return None if row is None else row.parts[results.hardest_test]["accuracy"].interval

    used = results.row(results.recommendation.rival or results.recommendation.row)
    return Headline(
        verdict=results.recommendation.headline,
        metric=results.metric,
        is_ood=results.hardest_test == "ood_test",
        label=used.label,
        used=figure(used),
        on_easy=figure(rows.get(STRONG_ON_EASY)),
        ceiling=figure(rows.get(CEILING)),
        has_report=_is_file(folder / REPORT),
    )


def _leaderboard(folder: Path) -> Leaderboard | None:
    try:
        return Leaderboard.model_validate_json((folder / BOARD).read_bytes())
    except (OSError, ValueError):
        return None


def _progress(folder: Path) -> Progress | None:
    try:
        return Progress.model_validate_json((folder / PROGRESS).read_bytes())
    except (OSError, ValueError):
        return None


def _time(event: dict[str, Any]) -> float:
    time = event.get("time")
    return float(time) if isinstance(time, int | float) else 0.0


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
