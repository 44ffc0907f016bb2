"""The pairs of a finished run as a file in TRL's format, to teach a large model elsewhere."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemw2s.config import parse_config
from ensemw2s.data.load import load_task
from ensemw2s.data.people import Questions
from ensemw2s.errors import ConfigError, RunError
from ensemw2s.forms.generation.pairs import PAIRS
from ensemw2s.pipeline.run_folder import read_results
from ensemw2s.prompting import answer_text
from ensemw2s.storage.files import cache_home, write_atomic
from ensemw2s.storage.records import json_line
from ensemw2s.storage.store import Store


@dataclass(frozen=True)
class WrittenPairs:
    """What a file of pairs holds."""

    n_pairs: int
    row: str
    """Key of the condition whose second lesson they are."""
    seed: int


def write_pairs(
    run_dir: Path, output: Path, *, row: str | None = None, seed: int | None = None, store_root: Path | None = None
) -> WrittenPairs:
    """Write the pairs of one row and seed as JSON lines: prompt, chosen, rejected, margin, origin, id; where judges
    changed them the probability that each is the right way round, too.

    Args:
        row: key of a condition; None takes the recommended one, else the first that has pairs.
        seed: None takes that of the exported student.

    Raises:
        ConfigError: the output is no new .jsonl file, or no such row or seed has pairs.
        RunError, DataError: the run is not finished, its store lacks the pairs, or its task cannot be read.
    """
    if output.suffix.lower() != ".jsonl":
        raise ConfigError(f"--output: {output} must end in .jsonl")
    if output.exists():
        raise ConfigError(f"--output: there is {output} already; choose another name")
    results = read_results(run_dir)
    records = _records(run_dir, Store(store_root or cache_home() / "store"))
    seeds = sorted({record["seed"] for record in records})
    seed = results.recommendation.seed if seed is None else seed
    if seed not in seeds:
        raise ConfigError(f"--seed: there is no {seed}; choose one of {', '.join(map(str, seeds))}")
    there = {record["row"]: record for record in records if record["seed"] == seed and record["pairs"]}
    if not there:
        raise ConfigError(
            f"{run_dir}: no question of seed {seed} gave a pair; the notes of its report say why (more samples, or a "
            "lower `least` and `surely`, give more)"
        )
    recommended = results.recommendation.row
    chosen = row or (recommended if recommended in there else next(iter(there)))
    if chosen not in there:
        raise ConfigError(f"--row: no pairs of {chosen!r}; choose one of {', '.join(there)}")
    config = parse_config(results.config)
    prompts = Questions(load_task(config.task)).prompts
    pairs, is_doubted = there[chosen]["pairs"], there[chosen].get("guard", {}).get("share", 0) > 0
    if gone := [pair["id"] for pair in pairs if pair["id"] not in prompts]:
        raise RunError(f"{run_dir}: its task has no item {gone[0]!r} any more; restore the data it was run with")
    lines = [_line(pair, prompts[pair["id"]], chat=config.strong.chat) for pair in pairs]
    if is_doubted:
        doubts = [{"margin": max(p["margin"], 0.0), "probability": p["probability"]} for p in pairs]
        lines = [line | doubt for line, doubt in zip(lines, doubts, strict=True)]
    lines = [json_line(line) for line in lines]
    write_atomic(output, b"".join(lines))
    return WrittenPairs(len(pairs), chosen, seed)


def _line(pair: dict[str, Any], prompt: str, *, chat: bool) -> dict[str, Any]:
    """A pair as TRL reads it: as turns where the student is asked so, else as texts, in which what both answers share
    belongs to the prompt."""
    facts = {"margin": pair["margin"], "origin": pair["origin"], "id": pair["id"]}
    if chat:
        turns = {name: [{"role": "assistant", "content": pair[name]}] for name in ("chosen", "rejected")}
        return {"prompt": [{"role": "user", "content": prompt}]} | turns | facts
    answers = {name: answer_text(pair[name]) for name in ("chosen", "rejected")}
    shared = answer_text(pair["shared"]) if pair["shared"] else ""
    return {"prompt": prompt + shared} | {n: text.removeprefix(shared) for n, text in answers.items()} | facts


def _records(run_dir: Path, store: Store) -> list[dict[str, Any]]:
    """Those of the pairs' artifacts."""
    mend = "run the same `ensemw2s run` again: what is finished is kept, and only what is missing is made"
    try:
        used = json.loads((run_dir / "stages" / "students.json").read_bytes())["artifacts"]
        keys = [each["key"] for each in used if each["kind"] == PAIRS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{run_dir}: not a whole run folder ({' '.join(str(error).split())[:200]}); {mend}") from None
    if not keys:
        raise ConfigError(
            f"{run_dir}: no student of this run had a second lesson, so there are no pairs; give a recipe one "
            "(students.recipes: [{labels: hard, then: {pairs: majority}}]) and run it again"
        )
    artifacts = [store.load(PAIRS, key) for key in keys]
    if missing := sum(artifact is None for artifact in artifacts):
        raise RunError(f"{run_dir}: the store {store.root} lacks {missing} of its {len(keys)} sets of pairs; {mend}")
    return [artifact.record for artifact in artifacts if artifact is not None]
