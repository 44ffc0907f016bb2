"""From the body of a request to the answers that it asks for."""

from collections.abc import Sequence
from typing import Any

from ensemw2s.config import DecodingConfig
from ensemw2s.data.templates.template import template
from ensemw2s.ensemble.words.decode import Row
from ensemw2s.errors import DataError
from ensemw2s.export.ensembles.generator import Generator
from ensemw2s.export.opened import Classifier
from ensemw2s.services.serving.schema import ChatCompletion, Classification, Completion, Message, Sampled
from ensemw2s.services.serving.worker import Refused

Content = tuple[Row, int]
"""An answer to be written, and the largest number of tokens that it and its prompt can have."""


def filled(text_or_row: str | dict[str, Any], template_text: str) -> str:
    """The run's prompt of a row, or of a text for its only column.

    A text for a template of several columns is taken as a whole prompt.

    Raises:
        Refused: the row does not fit the template.
    """
    asked = template(template_text)
    if isinstance(text_or_row, str):
        if len(asked.columns) > 1:
            return text_or_row
        text_or_row = dict.fromkeys(asked.columns, text_or_row)
    try:
        return asked.render("input", text_or_row)
    except DataError as error:
        raise Refused(400, str(error)) from None


class Prompter:
    """Reads requests to one generator."""

    def __init__(self, generator: Generator):
        self._generator, self._tokenizer = generator, generator.tokenizer

    def completion(self, asked: Completion) -> list[Content]:
        """The answers that are asked for, prompt by prompt.

        Raises:
            Refused: a prompt is empty or too long, or has tokens that the models do not know.
        """
        if not (prompts := _prompts(asked.prompt)):
            raise Refused(400, "prompt: it is empty; give one at least")
        named = [(self._ids(one), one) if isinstance(one, str) else (one, str(one)) for one in prompts]
        return self._contents(named, asked, asked.max_tokens, asked.logprobs or 0)

    def chat(self, asked: ChatCompletion) -> list[Content]:
        """The answers that are asked for.

        Raises:
            Refused: as `completion`, or the models know nothing of such a conversation.
        """
        if asked.top_logprobs and not asked.logprobs:
            raise Refused(400, "top_logprobs: it needs logprobs: true")
        n_new = asked.max_completion_tokens or asked.max_tokens
        return self._contents([self._turns(asked.messages)], asked, n_new, asked.top_logprobs or 0)

    def _decoding(self, asked: Sampled, n_new: int | None) -> DecodingConfig:
        """How the answers are written: as the run has it, where the request says nothing."""
        stop = (asked.stop,) if isinstance(asked.stop, str) else asked.stop
        settings = {
            "max_new_tokens": n_new,
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "seed": asked.seed,
            "stop": None if stop is None else tuple(stop),
        }
        return self._generator.decoding.model_copy(
            update={name: value for name, value in settings.items() if value is not None}
        )

    def _turns(self, messages: Sequence[Message]) -> tuple[list[int], str]:
        """Token ids of a conversation, and its text."""
        prompting = self._generator.prompting
        if len(messages) == 1 and messages[0].role == "user":  # as in training
            prompt = filled(messages[0].text, prompting.template)
            if not prompting.chat:
                return self._ids(prompt), prompt
            messages = [messages[0].model_copy(update={"content": prompt})]
        elif not prompting.chat:
            raise Refused(400, "messages: the models were trained on single questions; send one message of the user")
        turns = [{"role": message.role, "content": message.text} for message in messages]
        text = str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        name = messages[0].text if len(messages) == 1 else text
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"]), name

    def _contents(
        self, prompts: Sequence[tuple[list[int], str]], asked: Sampled, n_new: int | None, n_likeliest: int
    ) -> list[Content]:
        decoding = self._decoding(asked, n_new)
        contents = []
        for ids, name in prompts:
            if fault := self._generator.fault(ids, decoding.max_new_tokens):
                raise Refused(400, f"prompt: {fault}")
            # The first answer is drawn as the run's own would be.
            names = [name, *(f"{name}\n{number}" for number in range(1, asked.n_choices))]
            n_tokens = len(ids) + decoding.max_new_tokens
            contents += [(Row(ids, one, decoding, n_likeliest), n_tokens) for one in names]
        return contents

    def _ids(self, prompt: str) -> list[int]:
        return list(self._tokenizer([prompt])["input_ids"][0])


def _prompts(prompt: str | list[str] | list[int] | list[list[int]]) -> list[str | list[int]]:
    """Each prompt, as text or as token ids."""
    if isinstance(prompt, str):
        return [prompt]
    tokens = [one for one in prompt if isinstance(one, int)]
    return [tokens] if tokens else [one for one in prompt if not isinstance(one, int)]


def to_classify(asked: Classification, classifier: Classifier) -> list[tuple[str, int]]:
    """The prompts that are to be classified, each with its number of tokens.

    Raises:
        Refused: there is none, or one does not fit the template or cannot be read.
    """
    inputs = asked.input if isinstance(asked.input, list) else [asked.input]
    if not inputs:
        raise Refused(400, "input: it is empty; give one at least")
    prompts = [filled(one, classifier.prompting.template) for one in inputs]
    found = []
    for prompt, (n_tokens, fault) in zip(prompts, classifier.sizes(prompts), strict=True):
        if fault:
            raise Refused(400, f"input: {fault}")
        found.append((prompt, n_tokens))
    return found
