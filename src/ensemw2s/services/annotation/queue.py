"""The annotation queue: items of a finished run that people should label first, as a file to fill in."""

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemw2s.config import ExperimentConfig, parse_config
from ensemw2s.core.routing import ROUTERS, ROUTES, Thresholds, queue_order, routes, thresholds
from ensemw2s.data.load import load_task
from ensemw2s.data.people import KINDS, Questions
from ensemw2s.errors import ConfigError, EnsemW2SError, RunError
from ensemw2s.evaluation.routing_signals import RoutingRecord
from ensemw2s.evaluation.sections.budget import PLAIN, curve_method
from ensemw2s.pipeline.run_folder import read_results
from ensemw2s.pipeline.seeds.routing_signals import KIND, from_artifact
from ensemw2s.reading import load_yaml, read_text
from ensemw2s.services.annotation.merge import read_merged
from ensemw2s.services.annotation.reasons import Explanation, with_reasons
from ensemw2s.services.annotation.tools import TOOLS
from ensemw2s.storage.files import cache_home, new_folder, write_atomic
from ensemw2s.storage.records import json_line
from ensemw2s.storage.store import Store
from ensemw2s.text import to_cell

SEPARATOR = " | "
"""Separator of several values in one cell of a CSV file."""


@dataclass(frozen=True)
class Wanted:
    """Choice and order of the items."""

    method: str | None = None
    """Ensemble method whose labels are checked; None: boosting, or the run's first."""
    router: str = PLAIN
    seed: int | None = None
    """Seed whose items are queued; None: that of the exported student."""
    budget: int | None = None
    target: float | None = None
    """Target accuracy of the thresholds (`core.routing.thresholds`)."""


@dataclass(frozen=True)
class Queued:
    """Numbers of a written queue."""

    n_rows: int
    n_answered: int
    """Number of items left out because people have answered them."""
    thresholds: Thresholds | None
    counts: dict[str, int]
    """Number of items by route, without those left out; empty without thresholds."""


@dataclass(frozen=True)
class FinishedRun:
    """What routing needs of a finished run."""

    config: ExperimentConfig
    questions: Questions
    signals: dict[tuple[int, str], RoutingRecord]
    """Routing signals by seed and method."""
    seed: int
    """Seed of the exported student."""

    @property
    def ids(self) -> set[str]:
        """Ids of all unlabelled items of all seeds."""
        return {name for signals in self.signals.values() for name in signals.ids}


def open_run(run_dir: Path, *, store_root: Path | None = None) -> FinishedRun:
    """Read a finished run, its routing signals from the store and its questions from its task.

    Raises:
        RunError: the run is not finished, is of an older version, or the store lacks its routing signals.
        DataError: its task can no longer be read.
    """
    results = read_results(run_dir)
    store = Store(store_root or cache_home() / "store")
    mend = "run the same `ensemw2s run` again: what is finished is kept, and only what is missing is made"
    path = run_dir / "config.yaml"
    try:
        tree = load_yaml(read_text(path, RunError), str(path), RunError)
        tree.pop("_run")
        used = json.loads((run_dir / "stages" / "evaluate.json").read_bytes())["artifacts"]
        keys = [each["key"] for each in used if each["kind"] == KIND]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EnsemW2SError) as error:
        raise RunError(f"{run_dir}: not a whole run folder ({' '.join(str(error).split())[:200]}); {mend}") from None
    artifacts = [store.load(KIND, key) for key in keys]
    signals = [from_artifact(artifact) for artifact in artifacts if artifact is not None]
    if not keys or len(signals) < len(keys):
        raise RunError(f"{run_dir}: the store {store.root} lacks the routing signals of its ensembles; {mend}")
    config = parse_config(tree)
    questions = Questions(load_task(config.task))
    if gone := sorted(name for s in signals for name in s.ids if name not in questions.prompts)[:1]:
        raise RunError(f"{run_dir}: its task has no item {gone[0]!r} any more; restore the data it was run with")
    by_ensemble = {(s.seed, s.method): s for s in signals}
    return FinishedRun(config, questions, by_ensemble, results.recommendation.seed)


def write_queue(
    run_dir: Path,
    output: Path,
    wanted: Wanted,
    *,
    tool: str | None = None,
    explanation: Explanation | None = None,
    store_root: Path | None = None,
) -> Queued:
    """Write the items that people should label, most valuable first, without those already labelled.

    Args:
        output: a file to fill in, or what an annotation tool imports.
        tool: a name in `tools.TOOLS`; None is a plain file.
        explanation: reasons that a model writes for the rows; they change no row and no order.

    Raises:
        ConfigError: the tool or the output's kind is unknown, the output exists, or the run has no such method, router
            or seed, or the reasons cannot be written.
        RunError, DataError: as `open_run`.
        ModelError: there is no model to write reasons.
    """
    _check_output(output, tool)
    if explanation is not None:
        _ = explanation.filled  # a bad template is refused before any work
    run = open_run(run_dir, store_root=store_root)
    config = run.config
    method = wanted.method or curve_method(config.ensemble.methods)
    seed = run.seed if wanted.seed is None else wanted.seed
    _choose("--method", method, config.ensemble.methods)
    _choose("--router", wanted.router, tuple(ROUTERS))
    _choose("--seed", seed, config.seeds)
    if wanted.target is not None and not 0 < wanted.target <= 1:
        raise ConfigError(f"--target: got {wanted.target}; give a share above 0, at most 1")
    signals, router = run.signals[seed, method], ROUTERS[wanted.router]
    trust = router(signals.hard)
    bands, route = None, [""] * len(signals.ids)
    if (easy := signals.trusted) is not None:
        bands = thresholds(router(easy.signals), easy.right, easy.checker_right, target=wanted.target)
        route = [ROUTES[k] for k in routes(trust, bands).tolist()]
    answered = read_merged(run_dir)
    # Ties are broken by id, whatever the order of the data.
    by_id = sorted(range(len(signals.ids)), key=signals.ids.__getitem__)
    order = queue_order(trust[by_id], signals.hard.confidence[by_id]).tolist()
    places = [by_id[k] for k in order if signals.ids[by_id[k]] not in answered]
    rows = [
        {
            "id": signals.ids[i],
            "prompt": run.questions.prompts[signals.ids[i]],
            "ensemble": signals.answers[i],
            "confidence": round(float(signals.hard.confidence[i]), 6),
            "agreement": round(float(signals.hard.agreement[i]), 6),
            "members": list(signals.members[i]),
            "checker": signals.checker[i],
            "route": route[i],
            "allowed": list(run.questions.allowed(signals.ids[i])),
            "answer": "",
        }
        for i in places[: wanted.budget]
    ]
    if explanation is not None:
        rows = with_reasons(rows, explanation, config, Store(store_root or cache_home() / "store"))
    if tool is None:
        write_atomic(output, _csv(rows) if output.suffix.lower() == ".csv" else b"".join(map(json_line, rows)))
    else:
        _write_for(tool, output, rows, method)
    counts = Counter(route[i] for i in places) if bands else {}
    return Queued(len(rows), len(signals.ids) - len(places), bands, {name: counts[name] for name in ROUTES if bands})


def _check_output(output: Path, tool: str | None) -> None:
    if tool is not None:
        _choose("--format", tool, tuple(TOOLS))
    kinds = {None: KINDS, "label-studio": (".json",)}.get(tool)
    if kinds is not None and output.suffix.lower() not in kinds:
        raise ConfigError(f"--output: {output} must end in {' or '.join(kinds)}")
    if output.exists():
        what = "folder" if output.is_dir() else "file"
        raise ConfigError(f"--output: {output}: there is such a {what}, perhaps with answers; choose another name")


def _write_for(tool: str, output: Path, rows: list[dict[str, Any]], method: str) -> None:
    files = TOOLS[tool](rows, method)
    if tool == "label-studio":
        for suffix, content in sorted(files.items(), reverse=True):  # the tasks last: where they are, all is there
            write_atomic(output.with_suffix(suffix), content)
        return
    with new_folder(output) as temporary:
        for name, content in files.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_bytes(content)


def _choose(option: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{option}: there is no {value!r}; choose one of {', '.join(map(str, known))}")


def _csv(rows: list[dict[str, Any]]) -> bytes:
    columns = list(rows[0]) if rows else ["id", "answer"]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for row in rows:
        texts = {name: SEPARATOR.join(value) if isinstance(value, list) else value for name, value in row.items()}
        writer.writerow({name: to_cell(text) if isinstance(text, str) else text for name, text in texts.items()})
    return text.getvalue().encode(errors="backslashreplace")
