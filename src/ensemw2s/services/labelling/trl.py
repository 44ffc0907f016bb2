"""Labels as TRL reads them for supervised fine-tuning: a prompt and its completion."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ensemw2s.data.answer_table import table_format
from ensemw2s.errors import ConfigError
from ensemw2s.export.ensembles.ensemble_record import EnsembleRecord
from ensemw2s.prompting import Prompting, answer_text

COLUMNS = ("id", "filled_prompt", "answer", "confidence", "agreement")
"""Of the shards that such a file is made of."""


def check_trl(output: Path, columns: object) -> None:
    """Raises ConfigError where the file cannot hold turns of a conversation, or columns are chosen."""
    if table_format(output) not in (".jsonl", ".parquet"):
        raise ConfigError(f"--output {output}: --format trl writes one file; let its name end in .jsonl or .parquet")
    if columns is not None:
        raise ConfigError("--columns: --format trl has columns of its own; leave one of the two out")


def is_chat(ensemble: Path, record: EnsembleRecord) -> bool:
    """Whether who learns from the labels reads its prompts as a user's turns: the run's student, else the experts."""
    student = ensemble / "student"
    return Prompting.load(student).chat if student.is_dir() else record.weak.chat


def trl_row(row: Mapping[str, Any], *, chat: bool) -> dict[str, Any]:
    """A row of the type prompt-completion, conversational or standard, of a label with these `COLUMNS`."""
    prompt, completion = row["filled_prompt"], answer_text(str(row["answer"]), chat=chat)
    return {
        "prompt": [{"role": "user", "content": prompt}] if chat else prompt,
        "completion": [{"role": "assistant", "content": completion}] if chat else completion,
        **{name: row[name] for name in ("id", "confidence", "agreement")},
    }
