"""An exported student as something that answers prompts, whether by a class or in words."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ensemw2s.data.encode import encode
from ensemw2s.data.template import template
from ensemw2s.ensemble.decode import decode
from ensemw2s.ensemble.members import SeparateModels
from ensemw2s.errors import DataError, ModelError
from ensemw2s.models.checkpoint import runs_code_of
from ensemw2s.models.export import load_student
from ensemw2s.models.export_language import ABOUT, Answers
from ensemw2s.models.exported import AGAIN, check_exported, check_finite
from ensemw2s.models.load import explained
from ensemw2s.models.quiet import quiet
from ensemw2s.prompting import FILE, Prompting
from ensemw2s.records import read_record


def saved_prompting(folder: Path) -> Prompting:
    """How the student was asked in training. Raises ModelError where the folder says nothing that can be done."""
    found = Prompting.load(folder)
    check_template(found.template, folder / FILE)
    return found


def check_template(prompt: str, place: Path) -> None:
    """Raises ModelError where a folder's own template cannot be used, as its user could not mend it by an option."""
    try:
        template(prompt)
    except DataError as error:
        raise ModelError(f"{place}: {error}; or give a template of your own (--prompt)") from None


def answer_prompts(folder: Path, prompts: Sequence[str], *, trusted: str | None = None) -> Iterator[dict[str, Any]]:
    """A record per prompt, in order: its answer, and the probability of each class or of the answer written.

    Args:
        folder: of the student.
        prompts: what it is asked.
        trusted: the repository whose own code may run (`models.export.load_student`).

    Raises:
        ModelError: the folder is no exported student, or is damaged.
        DataError: a prompt is empty or too long.
    """
    if not (folder / ABOUT).exists():
        predictor = load_student(folder, trusted=trusted)
        for prompt, q in zip(prompts, predictor.log_probs(prompts).exp(), strict=True):
            probability = dict(zip(predictor.choices, q.tolist(), strict=True))
            yield {"prompt": prompt, "answer": predictor.choices[int(q.argmax())], "probability": probability}
        return
    about, chat = read_record(folder / ABOUT, Answers, mend=AGAIN), Prompting.load(folder).chat
    check_exported(folder)
    trust = runs_code_of(str(folder), folder, trusted)
    with explained(str(folder), folder), quiet():
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=trust, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
    check_finite(folder, model)
    config = about.decoding
    longest = about.max_length - config.max_new_tokens
    ids = encode(tokenizer, prompts, max_length=longest, names=[p[:60] for p in prompts], chat=chat)
    found = decode(SeparateModels([model], [tokenizer]), torch.ones(1), tokenizer, ids, config, row_ids=prompts)
    for prompt, d in zip(prompts, found, strict=True):
        yield {"prompt": prompt, "answer": d.text.strip(), "probability": d.confidence}
