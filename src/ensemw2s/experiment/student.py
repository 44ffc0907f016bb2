"""An exported student as something that answers prompts, whether by a class or in words."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ensemw2s.config import DecodingConfig
from ensemw2s.data.encode import encode
from ensemw2s.ensemble.decode import decode
from ensemw2s.ensemble.members import SeparateModels
from ensemw2s.models.export import load_student
from ensemw2s.models.export_language import ABOUT
from ensemw2s.models.load import explained
from ensemw2s.models.quiet import quiet
from ensemw2s.prompting import Prompting


def answer_prompts(folder: Path, prompts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A record per prompt, in order: its answer, and the probability of each class or of the answer written.

    Raises:
        ModelError: the folder is no exported student, or is damaged.
        DataError: a prompt is empty or too long.
    """
    if not (folder / ABOUT).is_file():
        predictor = load_student(folder)
        for prompt, q in zip(prompts, predictor.log_probs(prompts).exp(), strict=True):
            probability = dict(zip(predictor.choices, q.tolist(), strict=True))
            yield {"prompt": prompt, "answer": predictor.choices[int(q.argmax())], "probability": probability}
        return
    with explained(str(folder), folder), quiet():
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    config = DecodingConfig.model_validate(about["decoding"])
    chat = Prompting.load(folder).chat
    longest = int(about["max_length"]) - config.max_new_tokens
    ids = encode(tokenizer, prompts, max_length=longest, names=[p[:60] for p in prompts], chat=chat)
    found = decode(SeparateModels([model], [tokenizer]), torch.ones(1), tokenizer, ids, config, row_ids=prompts)
    for prompt, d in zip(prompts, found, strict=True):
        yield {"prompt": prompt, "answer": d.text.strip(), "probability": d.confidence}
