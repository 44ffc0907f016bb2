"""A server under load: 32 clients against one, with OpenAI's own client over HTTP.

    python benchmarks/serving.py [--clients 32] [--each 8] [--model smollm2-135m] [--rounds 3]

The server is `ensemw2s serve` in a process of its own, on an ensemble of three experts that own the upper 2 of the
model's first 10 layers (untrained noise: an answer costs what a trained one costs, and runs to its full length). Every
client asks its own questions, of 5 to 60 words, one after the other. Every answer is compared with offline decoding.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai

from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.core.seeds import stream
from ensemw2s.export.ensembles.ensemble_folder import write_ensemble
from ensemw2s.export.ensembles.ensemble_record import AnswerEnsemble
from ensemw2s.export.opened import ENSEMBLE, open_generator
from ensemw2s.models.adapting.adapters import owned_state
from ensemw2s.models.language import AnswerModel, vocabulary_head
from ensemw2s.models.loading.load import load_backbone

N_NEW = 24
N_EXPERTS = 3
TEXT = "the river runs past an old mill where two roads meet and nobody has lived there for many years now"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--each", type=int, default=4, help="questions of each client")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    prompts = questions(options.clients * options.each)
    few = prompts[: max(8, len(prompts) // 8)]
    with tempfile.TemporaryDirectory() as place:
        save_ensemble(Path(place), options.model)
        generator = open_generator(Path(place))
        began = time.perf_counter()
        offline = [d.text for d in generator.write(generator.encode(prompts), generator.decoding, prompts)]
        print(f"offline: {len(prompts) / (time.perf_counter() - began):.2f} answers per second")
        del generator
        with Server(Path(place)) as server:
            server.ask(few[:2], 1)
            ratios, alone, together = [], [], []
            for _ in range(options.rounds):
                alone.append(server.ask(few, 1))
                together.append(server.ask(prompts, options.clients))
                for asked, answers in ((few, alone[-1]), (prompts, together[-1])):
                    differing = sum(a != b for a, b in zip(answers.texts, offline[: len(asked)], strict=True))
                    assert not differing, f"{differing} of {len(asked)} answers are not those of offline decoding"
                ratios.append(together[-1].per_second / alone[-1].per_second)
    for name, rounds in (("one client", alone), (f"{options.clients} clients", together)):
        shown = ", ".join(f"{r.per_second:.2f}" for r in rounds)
        seconds = sorted(s for r in rounds for s in r.seconds)
        p50, p95 = statistics.median(seconds), seconds[int(0.95 * len(seconds))]
        print(f"{name}: {shown} answers per second; seconds to an answer: median {p50:.2f}, 95th percentile {p95:.2f}")
    n_answers = sum(len(r.texts) for r in [*alone, *together])
    print(f"{n_answers} answers, none lost, all equal to offline decoding")
    shown = ", ".join(f"{r:.2f}" for r in ratios)
    print(f"throughput of {options.clients} clients over one: {statistics.median(ratios):.2f} ({shown})")


class Asked:
    """What came of one round."""

    def __init__(self, texts: list[str], seconds: list[float], wall: float):
        self.texts, self.seconds, self.per_second = texts, seconds, len(texts) / wall


class Server:
    """`ensemw2s serve` in a process of its own."""

    def __init__(self, place: Path):
        command = [sys.executable, "-m", "ensemw2s", "serve", str(place), "--port", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)

    def __enter__(self) -> "Server":
        assert self._process.stdout is not None
        url = self._process.stdout.readline().split()[-1]
        self._client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=600)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def ask(self, prompts: list[str], n_clients: int) -> Asked:
        """Each client asks one question after the other."""

        def one(prompt: str) -> tuple[str, float]:
            began = time.perf_counter()
            answer = self._client.completions.create(model=ENSEMBLE, prompt=prompt)
            return answer.choices[0].text, time.perf_counter() - began

        began = time.perf_counter()
        with ThreadPoolExecutor(n_clients) as pool:
            found = list(pool.map(one, prompts))
        wall = time.perf_counter() - began
        return Asked([text for text, _ in found], [seconds for _, seconds in found], wall)


def questions(n: int) -> list[str]:
    """Of 5 to 60 words."""
    rng, words = random.Random(0), TEXT.split()
    return [f"{i}. " + " ".join(rng.choice(words) for _ in range(rng.randint(5, 60))) + "?" for i in range(n)]


def save_ensemble(place: Path, model: str) -> None:
    """An ensemble of untrained experts that differ."""
    config = ModelConfig(model=model, adapter="top", top_layers=2, n_layers=10, dtype="float32", max_length=256)
    if model == "tiny":
        config = config.model_copy(update={"n_layers": None, "top_layers": 1, "max_length": 512})
    backbone = load_backbone(config)
    head = vocabulary_head(backbone)
    states = [
        owned_state(AnswerModel(backbone, head, config, init_noise=0.3, generator=stream(i, "noise")))
        for i in range(N_EXPERTS)
    ]
    record = AnswerEnsemble(
        method="independent",
        seed=0,
        expert_ids=tuple(f"independent/{i}" for i in range(N_EXPERTS)),
        expert_weights=(1.0,) * N_EXPERTS,
        prompt="{{ prompt }}",
        weak=config,
        weak_fingerprint=backbone.fingerprint,
        config_hash="0" * 64,
        vote="soft",
        decoding=DecodingConfig(max_new_tokens=N_NEW, stop=()),
    )
    write_ensemble(place, record, states)


if __name__ == "__main__":
    main()
