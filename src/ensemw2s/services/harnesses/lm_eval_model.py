"""The model `ensemw2s` of lm-evaluation-harness: `lm_eval --model ensemw2s --model_args run=runs/demo ...`.

lm_eval finds it by its entry point `lm_eval.models`. Releases up to 0.4.13 do not look there; for them, `python -m
ensemw2s.services.harnesses.lm_eval_model` is the same command line.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval import utils  # pyright: ignore[reportMissingImports]
from lm_eval.api.instance import Instance  # pyright: ignore[reportMissingImports]
from lm_eval.api.model import TemplateLM  # pyright: ignore[reportMissingImports]
from lm_eval.api.registry import register_model  # pyright: ignore[reportMissingImports]
from lm_eval.models.utils import normalize_gen_kwargs  # pyright: ignore[reportMissingImports]
from tqdm import tqdm

from ensemw2s.config import DecodingConfig
from ensemw2s.errors import ConfigError
from ensemw2s.export.opened import open_generator

SCORED_TOGETHER = 256
"""Number of continuations between two steps of the progress bar; batches are made by length within."""
Pair = tuple[Any, list[int], list[int]]
"""What a score is cached under, the context's token ids and the continuation's."""


@register_model("ensemw2s")
class EnsemW2SModel(TemplateLM):
    """A student or an ensemble that generates. Log-likelihoods are those of the ensemble's vote.

    Args:
        run: a finished run (its student, where it has one), the folder of a student or an ensemble, or its name on the
            hub.
        max_length: largest number of tokens that are read; the run's own by default, beyond which nothing was trained.
        trust_remote_code_from: repository whose own code may run (`export.opened`).
        batch_size: not used, nor are the next two; batches are made by length, on the device that the models choose.

    Raises:
        RunError, ModelError, ConfigError: as `export.opened.open_generator`.
    """

    def __init__(
        self,
        run: str,
        max_length: int | None = None,
        trust_remote_code_from: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
    ):
        super().__init__()
        self._generator = open_generator(Path(run), trusted=trust_remote_code_from)
        self.tokenizer = self._generator.tokenizer
        self.max_length = max_length or self._generator.longest
        self._drawn: Counter[str] = Counter()

    @property
    def eot_token_id(self) -> int:
        """Token that ends an answer."""
        return int(self.tokenizer.eos_token_id)  # pyright: ignore[reportArgumentType]

    @property
    def prefix_token_id(self) -> int:
        """Token before a text without a context."""
        first = self.tokenizer.bos_token_id
        return first if isinstance(first, int) else self.eot_token_id

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer in the harness's caches."""
        return self.tokenizer.name_or_path.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids; a text that begins with the first token of texts gets no other one."""
        if add_special_tokens is None and string.startswith(str(self.tokenizer.decode([self.prefix_token_id]))):
            add_special_tokens = False
        if add_special_tokens is None:
            return list(self.tokenizer.encode(string))
        return list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt of a conversation."""
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def _loglikelihood_tokens(
        self, requests: Sequence[Pair], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        answers: list[tuple[float, bool]] = []
        with tqdm(total=len(requests), desc="loglikelihood", disable=disable_tqdm) as progress:
            for start in range(0, len(requests), SCORED_TOGETHER):
                part = requests[start : start + SCORED_TOGETHER]
                for (key, _context, _continuation), answer in zip(part, self._scored(part), strict=True):
                    answers.append(answer)
                    if key is not None:
                        self.cache_hook.add_partial("loglikelihood", key, answer)
                progress.update(len(part))
        return answers

    def _scored(self, part: Sequence[Pair]) -> Iterator[tuple[float, bool]]:
        """Log-probability of each continuation, and whether greedy decoding would write it."""
        # Of what is too long, the end is read.
        sequences = [(context + continuation)[-(self.max_length + 1) :] for _, context, continuation in part]
        lengths = [len(ids) - len(continuation) for ids, (_, _, continuation) in zip(sequences, part, strict=True)]
        scores = self._generator.score(sequences, lengths)
        for gold, wrong in zip(
            scores.gold[-1].split(scores.sizes.tolist()), scores.wrong[-1].split(scores.sizes.tolist()), strict=True
        ):
            yield float(gold.sum()), not bool(wrong.any())

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-probability of each whole text, every token after as much as can be read before it."""
        windows: list[tuple[int, Pair]] = []
        for number, request in enumerate(requests):
            rolling = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            windows += [(number, (None, *utils.make_disjoint_window(window))) for window in rolling]
        totals = [0.0] * len(requests)
        scores = self._loglikelihood_tokens([pair for _, pair in windows], disable_tqdm)
        for (number, _), (log_prob, _) in zip(windows, scores, strict=True):
            totals[number] += log_prob
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers up to a stop string, the end token or the largest number of tokens."""
        answers = [""] * len(requests)
        by_settings: dict[DecodingConfig, list[int]] = {}
        asked: list[Any] = [request.args for request in requests]
        for number, (_, settings) in enumerate(asked):
            by_settings.setdefault(self._decoding(settings), []).append(number)
        with tqdm(total=len(requests), desc="generate_until", disable=disable_tqdm) as progress:
            for decoding, numbers in by_settings.items():
                most = self.max_length - decoding.max_new_tokens
                if most < 1:
                    raise ConfigError(
                        f"max_gen_toks: {decoding.max_new_tokens} new tokens leave no room for a prompt in "
                        f"{self.max_length}; set fewer with --gen_kwargs max_gen_toks=..."
                    )
                prompts = [self.tok_encode(asked[number][0])[-most:] for number in numbers]
                names = [self._name(asked[number][0]) for number in numbers]
                answered = self._generator.write(prompts, decoding, names)
                progress.update(len(prompts))
                for number, written in zip(numbers, answered, strict=True):
                    answers[number] = written.text
                    self.cache_hook.add_partial("generate_until", asked[number], written.text)
        return answers

    def _name(self, context: str) -> str:
        """Seeds the draws of an answer; a question that is asked again is drawn anew."""
        self._drawn[context] += 1
        return f"{context}\n{self._drawn[context]}"

    def _decoding(self, asked: Mapping[str, Any]) -> DecodingConfig:
        """How a task wants its answers written. Raises ConfigError where that is not supported."""
        own = self._generator.decoding
        settings: dict[str, Any] = {**normalize_gen_kwargs(dict(asked), own.max_new_tokens)}
        is_drawn, temperature = settings.pop("do_sample"), float(settings.pop("temperature", 1.0))
        decoding = DecodingConfig(
            max_new_tokens=settings.pop("max_gen_toks"),
            stop=tuple(stop for stop in settings.pop("until") if stop),
            temperature=temperature if is_drawn else 0.0,
            top_p=settings.pop("top_p", 1.0),
            seed=own.seed,
            batch_rows=own.batch_rows,
        )
        if unknown := sorted(name for name, value in settings.items() if value is not None):
            raise ConfigError(
                f"generation_kwargs: {', '.join(unknown)}: not supported; there are until, max_gen_toks, do_sample, "
                "temperature and top_p"
            )
        return decoding


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate  # pyright: ignore[reportMissingImports]

    cli_evaluate()
