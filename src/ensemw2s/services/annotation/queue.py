"""The items of a finished run that people should label first, as a file to fill in."""

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
from ensemw2s.evaluation.budget import PLAIN, curve_method
from ensemw2s.pipeline.routing_signals import OPINIONS, Opined, from_artifact
from ensemw2s.pipeline.run_folder import read_results
from ensemw2s.reading import load_yaml, read_text
from ensemw2s.services.annotation.merge import read_merged
from ensemw2s.storage.files import cache_home, write_atomic
from ensemw2s.storage.records import json_line
from ensemw2s.storage.store import Store
from ensemw2s.text import to_cell

SEPARATOR = " | "
"""Between several values of one cell of a CSV file."""


@dataclass(frozen=True)
class Wanted:
    """Which items, and in which order."""

    method: str | None = None
    """None: boosting, or the run's first."""
    router: str = PLAIN
    seed: int | None = None
    """None: that of the exported student."""
    budget: int | None = None
    target: float | None = None
    """Of the thresholds, see `core.routing.thresholds`."""


@dataclass(frozen=True)
class Queued:
    """What was written."""

    n_rows: int
    n_answered: int
    """Left out, because people have answered them."""
    thresholds: Thresholds | None
    counts: dict[str, int]
    """Route to items, of all that were not left out; empty without thresholds."""


@dataclass(frozen=True)
class FinishedRun:
    """What routing needs of one."""

    config: ExperimentConfig
    questions: Questions
    opined: dict[tuple[int, str], Opined]
    """Seed and method to what was said."""
    seed: int
    """Whose student the run exports."""

    @property
    def ids(self) -> set[str]:
        """Of all unlabelled items of all seeds."""
        return {name for each in self.opined.values() for name in each.ids}


def open_run(run_dir: Path, *, store_root: Path | None = None) -> FinishedRun:
    """Read a finished run, its opinions from the store and its questions from its task.

    Raises:
        RunError: the run is not finished, is of an older version, or the store has lost its opinions.
        DataError: its task cannot be read any more.
    """
    results = read_results(run_dir)
    store = Store(store_root or cache_home() / "store")
    mend = "run the same `ensemw2s run` again: what is finished is kept, and only what is missing is made"
    path = run_dir / "config.yaml"
    try:
        tree = load_yaml(read_text(path, RunError), str(path), RunError)
        tree.pop("_run")
        used = json.loads((run_dir / "stages" / "evaluate.json").read_bytes())["artifacts"]
        keys = [each["key"] for each in used if each["kind"] == OPINIONS]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EnsemW2SError) as error:
        raise RunError(f"{run_dir}: not a whole run folder ({' '.join(str(error).split())[:200]}); {mend}") from None
    found = [store.load(OPINIONS, key) for key in keys]
    opined = [from_artifact(each) for each in found if each is not None]
    if not keys or len(opined) < len(keys):
        raise RunError(f"{run_dir}: the store {store.root} has not what its ensembles say of each item; {mend}")
    config = parse_config(tree)
    questions = Questions(load_task(config.task))
    by_place: dict[tuple[int, str], Opined] = {(o.seed, o.method): o for o in opined}
    if gone := sorted(name for o in opined for name in o.ids if name not in questions.prompts)[:1]:
        raise RunError(f"{run_dir}: its task has no item {gone[0]!r} any more; restore the data it was run with")
    return FinishedRun(config, questions, by_place, results.recommendation.seed)


def write_queue(run_dir: Path, output: Path, wanted: Wanted, *, store_root: Path | None = None) -> Queued:
    """Write the items that people should label, the most valuable first; items that they have labelled are left out.

    Raises:
        ConfigError: the output's kind is unknown or it exists, or the run has no such method, router or seed.
        RunError, DataError: as `open_run`.
    """
    suffix = output.suffix.lower()
    if suffix not in KINDS:
        raise ConfigError(f"--output: {output} must end in {' or '.join(KINDS)}")
    if output.exists():
        raise ConfigError(f"--output: {output}: there is such a file, perhaps with answers; choose another name")
    run = open_run(run_dir, store_root=store_root)
    config = run.config
    method = wanted.method or curve_method(config.ensemble.methods)
    seed = run.seed if wanted.seed is None else wanted.seed
    _choose("--method", method, config.ensemble.methods)
    _choose("--router", wanted.router, tuple(ROUTERS))
    _choose("--seed", seed, config.seeds)
    if wanted.target is not None and not 0 < wanted.target <= 1:
        raise ConfigError(f"--target: got {wanted.target}; give a share above 0, at most 1")
    opined, router = run.opined[seed, method], ROUTERS[wanted.router]
    trust = router(opined.hard)
    bands, route = None, [""] * len(opined.ids)
    if (known := opined.trusted) is not None:
        bands = thresholds(router(known.opinions), known.right, known.checker_right, target=wanted.target)
        route = [ROUTES[k] for k in routes(trust, bands).tolist()]
    answered = read_merged(run_dir)
    # Ties go by id, whatever the order of the data.
    by_id = sorted(range(len(opined.ids)), key=opined.ids.__getitem__)
    order = queue_order(trust[by_id], opined.hard.confidence[by_id]).tolist()
    places = [by_id[k] for k in order if opined.ids[by_id[k]] not in answered]
    rows = [
        {
            "id": opined.ids[i],
            "prompt": run.questions.prompts[opined.ids[i]],
            "ensemble": opined.answers[i],
            "confidence": round(float(opined.hard.confidence[i]), 6),
            "agreement": round(float(opined.hard.agreement[i]), 6),
            "members": list(opined.members[i]),
            "checker": opined.checker[i],
            "route": route[i],
            "allowed": list(run.questions.allowed(opined.ids[i])),
            "answer": "",
        }
        for i in places[: wanted.budget]
    ]
    write_atomic(output, _csv(rows) if suffix == ".csv" else b"".join(map(json_line, rows)))
    counts = Counter(route[i] for i in places) if bands else {}
    return Queued(len(rows), len(opined.ids) - len(places), bands, {name: counts[name] for name in ROUTES if bands})


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
