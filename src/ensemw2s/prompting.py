"""From a row to token ids: template, chat turn, tokenizer. Saved with every student."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.storage.records import Saved, read_record

FILE = "prompting.json"


@dataclass(frozen=True)
class Prompting:
    """How prompts were made in training."""

    template: str = "{{ prompt }}"
    """Jinja template over the columns of a row."""
    chat: bool = False
    """Whether the prompt is a user's turn in the tokenizer's chat template."""

    def save(self, folder: Path) -> None:
        (folder / FILE).write_text(_Prompting(template=self.template, chat=self.chat).text(), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Prompting":
        """Prompting of an exported student; the default where its folder has no such file.

        Raises:
            ModelError: the file is damaged.
        """
        path = folder / FILE
        if not path.exists() and not path.is_symlink():
            return cls()
        saved = read_record(path, _Prompting, mend="export the student again")
        return cls(saved.template, saved.chat)


class _Prompting(Saved):
    """Content of the file."""

    template: str
    chat: bool


def ends_in_cue(prompts: Sequence[str]) -> bool:
    """Whether a causal model is about to answer where the prompts end: all in one word, such as "Answer:", or all in a
    question mark."""
    ends = {prompt.rstrip().rpartition(" ")[2].rpartition("\n")[2] for prompt in prompts}
    return len(ends) == 1 or all(end.endswith("?") for end in ends)


def pooled_by_prompts(config: ModelConfig, prompts: Sequence[str]) -> ModelConfig:
    """The settings with the pooling that suits these prompts, where none is set: the mean, unless they end in a cue."""
    if config.pooling is not None or config.chat or ends_in_cue(prompts):
        return config
    return config.model_copy(update={"pooling": "mean"})


def prompt_ids(tokenizer: Any, prompts: Sequence[str], *, chat: bool = False) -> list[list[int]]:
    """Token ids of each prompt, as plain text or as a user's turn followed by the start of the assistant's.

    Raises:
        ModelError: the tokenizer has no chat template.
    """
    if not prompts:
        return []
    if not chat:
        return tokenizer(list(prompts))["input_ids"]
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"{tokenizer.name_or_path}: its tokenizer has no chat template; set `chat: false` for this model, or "
            "choose its chat or instruct version"
        )
    turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
    texts = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return tokenizer(texts, add_special_tokens=False)["input_ids"]  # the chat template has added them


def ids_behind(
    tokenizer: Any, before: str, prompts: Sequence[str], *, is_causal: bool
) -> tuple[list[int], list[list[int]]]:
    """Token ids of a text that stands before every prompt, and of each prompt behind it.

    Both are encoded apart, so that no token reaches over the seam; the tokenizer's special tokens stand around the two
    as around one text. What an encoder makes of a text depends on the prompt behind it: there each prompt has the text
    in it, and there is no first part.
    """
    if not before:
        return [], prompt_ids(tokenizer, prompts)
    (start, text, _), *each = _around(tokenizer, [before, *prompts])
    prefix, ids = [*start, *text], [[*own, *end] for _, own, end in each]
    return (prefix, ids) if is_causal else ([], [[*prefix, *one] for one in ids])


def prefix_ids(tokenizer: Any, before: str) -> tuple[list[int], int]:
    """Token ids of a text that stands before prompts, encoded apart from them, with the special tokens at the start of
    a text; and how many those are, which stand at the start of an encoded prompt, too."""
    if not before:
        return [], 0
    ((start, text, _),) = _around(tokenizer, [before])
    return [*start, *text], len(start)


def ids_behind_each(tokenizer: Any, before: Sequence[str], prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of each prompt behind a text of its own, encoded apart as in `ids_behind`."""
    starts, ends = _around(tokenizer, before), _around(tokenizer, prompts)
    return [[*start, *text, *own, *end] for (start, text, _), (_, own, end) in zip(starts, ends, strict=True)]


def _around(tokenizer: Any, texts: Sequence[str]) -> list[tuple[list[int], list[int], list[int]]]:
    """Of each text the special tokens before it, its own, and those behind it."""
    found: list[tuple[list[int], list[int], list[int]]] = []
    alone = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    for whole, own in zip(tokenizer(list(texts))["input_ids"], alone, strict=True):
        n = len(own)
        start = next((place for place in range(len(whole) - n + 1) if whole[place : place + n] == own), 0)
        found.append((whole[:start], own, whole[start + n :]))
    return found


def answer_text(answer: str, *, chat: bool = False) -> str:
    """Text of an answer after its prompt: after a space, or at the start of the assistant's turn."""
    return answer if chat else f" {answer}"
