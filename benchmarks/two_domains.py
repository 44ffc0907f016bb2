"""A file of two kinds of question, on which a gate over members should have something to do.

    python benchmarks/two_domains.py two-domains.jsonl
    ensemw2s run configs/tasks/gate.yaml --set name=gate-two-domains --set task.name=files \\
        --set task.path=two-domains.jsonl --set task.difficulty=rank

Half of the rows ask in which country a city is (as the task geo-facts does), half which of two cities has more people.
Difficulty is the rank of the first city's population; the kinds are asked of different cities.
"""

import argparse
import json
import random
from pathlib import Path

from ensemw2s.config.task import read_task
from ensemw2s.core.seeds import stream_seed
from ensemw2s.data.geonames import countries_and_cities


def rows(seed: int) -> list[dict[str, object]]:
    """Questions, of which half are answered with yes."""
    facts = read_task({"name": "geo-facts", "seed": seed}).load().examples
    _, cities = countries_and_cities()
    rank_of = {city_id: rank for rank, (_, city_id, _, _) in enumerate(cities)}
    rng = random.Random(stream_seed(seed, "two-domains"))
    found = list[dict[str, object]]()
    for i, fact in enumerate(facts):
        rank = rank_of[fact.group_id]
        prompt, answer = fact.prompt, fact.answer
        if i % 2:
            other = rng.choice([r for r in (rank // 2, min(2 * rank + 2, len(cities) - 1)) if r != rank])
            prompt = f"Does the city {cities[rank][2]} have more people than the city {cities[other][2]}?"
            answer = "yes" if cities[rank][0] > cities[other][0] else "no"
        found.append({"id": f"{fact.id}-{i % 2}", "prompt": prompt, "answer": answer, "rank": rank})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.file.write_text("".join(json.dumps(row) + "\n" for row in rows(given.seed)), encoding="utf-8")


if __name__ == "__main__":
    main()
