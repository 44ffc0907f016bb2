"""An exported student that answers prompts, by a class or by generation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ensemw2s.config import DecodingConfig
from ensemw2s.data.answer_table import answer_row
from ensemw2s.data.templates.prompts import Prompted
from ensemw2s.data.templates.template import template
from ensemw2s.ensemble.decode import decode
from ensemw2s.ensemble.separate import SeparateModels
from ensemw2s.errors import DataError, ModelError
from ensemw2s.export.answerer import ABOUT, Answers
from ensemw2s.export.classifier import Predictor, load_student
from ensemw2s.export.exported import AGAIN, check_exported, check_finite
from ensemw2s.models.loading.checkpoint import runs_code_of
from ensemw2s.models.loading.positions import positions_of
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.loading.refusal import explained
from ensemw2s.prompting import FILE, Prompting, prompt_ids
from ensemw2s.storage.records import read_record


def answer_rows(
    folder: Path,
    rows: Sequence[Prompted],
    *,
    id_column: str | None = None,
    wanted: Sequence[str] | None = None,
    trusted: str | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """A row of the table of answers for each row, in order, and why some have no answer.

    Args:
        wanted: columns of the table (`data.answer_table`); None takes the input's, the id and what was answered.

    Raises:
        ModelError: the folder is no exported student, or is damaged.
        DataError: no row has a prompt.
    """
    asked = [row.prompt for row in rows if row.prompt is not None]
    if not asked:
        raise DataError(f"{rows[0].place}: {rows[0].problem} (no row of the {len(rows):,} has a prompt)")
    answers = answer_prompts(folder, asked, trusted=trusted)
    table, errors = list[dict[str, Any]](), list[str]()
    for row in rows:
        said = _failed(None, f"{row.place}: {row.problem}") if row.prompt is None else next(answers)
        said |= {"filled_prompt": row.prompt}
        errors += [error] if (error := said.get("error", "")) else []
        table.append(answer_row(row.id, row.columns, said, id_column=id_column, wanted=wanted, error=error))
    return table, errors


def saved_prompting(folder: Path) -> Prompting:
    """Prompting that the student was trained with. Raises ModelError where the folder's template cannot be used."""
    prompting = Prompting.load(folder)
    check_template(prompting.template, folder / FILE)
    return prompting


def check_template(prompt: str, place: Path) -> None:
    """Check the prompt template of a folder.

    Raises:
        ModelError: it is malformed.
    """
    try:
        template(prompt)
    except DataError as error:
        raise ModelError(f"{place}: {error}; or give a template of your own (--prompt)") from None


def answer_prompts(folder: Path, prompts: Sequence[str], *, trusted: str | None = None) -> Iterator[dict[str, Any]]:
    """A record for each prompt, in order: the answer, its confidence and, of a class, the probability of each.

    Where the student cannot read a prompt, the answer is None and `error` says why.

    Args:
        folder: folder of the student.
        prompts: text of each prompt.
        trusted: repository whose own code may run (`export.classifier.load_student`).

    Raises:
        ModelError: the folder is no exported student, or is damaged.
    """
    is_generation = (folder / ABOUT).exists()
    student = _Generator.load(folder, trusted) if is_generation else _Classifier(load_student(folder, trusted=trusted))
    reasons = student.unreadable(prompts)
    answers = iter(student.answers([p for p, reason in zip(prompts, reasons, strict=True) if not reason]))
    for prompt, reason in zip(prompts, reasons, strict=True):
        yield _failed(prompt, reason) if reason else next(answers)


def _failed(prompt: str | None, reason: str) -> dict[str, Any]:
    return {"prompt": prompt, "answer": None, "error": reason}


def _unreadable(prompts: Sequence[Sequence[int]], longest: int, n_embeddings: int) -> list[str]:
    """Why each prompt, as token ids, cannot be read; empty where it can."""
    return [_fault(ids, longest, n_embeddings) for ids in prompts]


def _fault(ids: Sequence[int], longest: int, n_embeddings: int) -> str:
    if not 0 < len(ids) <= longest:
        return f"its prompt has {len(ids):,} tokens, and the student reads 1 to {longest:,}; shorten it or drop the row"
    if (largest := max(ids)) >= n_embeddings:
        return (
            f"its prompt has the token number {largest:,}, and the student has embeddings of 0 to {n_embeddings - 1:,} "
            "alone; take that text out of the prompt or drop the row"
        )
    return ""


@dataclass(frozen=True)
class _Classifier:
    """A student that answers by a class."""

    predictor: Predictor

    def unreadable(self, prompts: Sequence[str]) -> list[str]:
        tokenizer, positions = self.predictor.backbone.tokenizer, self.predictor.backbone.positions
        with quiet():  # the library warns of long prompts, which are refused here
            ids = prompt_ids(tokenizer, prompts, chat=self.predictor.chat)
        longest = int(tokenizer.model_max_length)
        longest = longest if positions is None else min(longest, positions)
        return _unreadable(ids, longest, self.predictor.backbone.n_tokens)

    def answers(self, prompts: Sequence[str]) -> Iterator[dict[str, Any]]:
        choices = self.predictor.choices
        for prompt, q in zip(prompts, self.predictor.log_probs(prompts).exp(), strict=True):
            probability = dict(zip(choices, q.tolist(), strict=True))
            confidence = float(q.max())
            yield {
                "prompt": prompt,
                "answer": choices[int(q.argmax())],
                "confidence": confidence,
                "probability": probability,
            }


@dataclass(frozen=True)
class _Generator:
    """A student that answers by generation."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    decoding: DecodingConfig
    longest: int
    """Largest number of tokens of a prompt."""
    chat: bool

    @classmethod
    def load(cls, folder: Path, trusted: str | None) -> "_Generator":
        about, chat = read_record(folder / ABOUT, Answers, mend=AGAIN), Prompting.load(folder).chat
        check_exported(folder)
        trust = runs_code_of(str(folder), folder, trusted)
        with explained(str(folder), folder), quiet():
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=trust, local_files_only=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
        check_finite(folder, model)
        longest, positions = about.max_length, positions_of(model.config)
        longest = longest if positions is None else min(longest, positions)
        return cls(model, tokenizer, about.decoding, longest - about.decoding.max_new_tokens, chat)

    def unreadable(self, prompts: Sequence[str]) -> list[str]:
        embeddings: torch.Tensor = self.model.get_input_embeddings().weight  # pyright: ignore[reportAssignmentType]
        return _unreadable(self._ids(prompts), self.longest, len(embeddings))

    def answers(self, prompts: Sequence[str]) -> Iterator[dict[str, Any]]:
        members = SeparateModels([self.model], [self.tokenizer])
        ids = self._ids(prompts)
        decoded = decode(members, torch.ones(1), self.tokenizer, ids, self.decoding, row_ids=prompts)
        for prompt, answer in zip(prompts, decoded, strict=True):
            yield {"prompt": prompt, "answer": answer.text.strip(), "confidence": answer.confidence}

    def _ids(self, prompts: Sequence[str]) -> list[list[int]]:
        with quiet():
            return prompt_ids(self.tokenizer, prompts, chat=self.chat)
