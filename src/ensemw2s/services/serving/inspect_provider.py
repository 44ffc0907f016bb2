"""A run's student or ensemble as a model of inspect_ai, asked as over HTTP but in inspect's own process."""

from pathlib import Path
from typing import Any

from inspect_ai.model import (  # pyright: ignore[reportMissingImports]
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Logprobs,
    ModelAPI,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.tool import ToolChoice, ToolInfo  # pyright: ignore[reportMissingImports]

from ensemw2s.errors import ConfigError
from ensemw2s.export.opened import open_generator
from ensemw2s.services.serving.openai import ChatForm, finish_reason
from ensemw2s.services.serving.pieces import Pieces
from ensemw2s.services.serving.prompts import Prompter
from ensemw2s.services.serving.reply import Reply
from ensemw2s.services.serving.schema import ChatCompletion, Message
from ensemw2s.services.serving.worker import Limits, Worker

NAME = "model"
WAITING = 100_000
"""Number of prompts that may wait: inspect bounds its own."""
A_LONG_TIME = 7 * 24 * 3600.0
"""Seconds after which a prompt is given up where inspect has no timeout."""
UNSUPPORTED = (
    *("best_of", "frequency_penalty", "presence_penalty", "logit_bias", "top_k", "prompt_logprobs"),
    *("response_schema", "extra_body"),
)
"""Settings that would change an answer."""


class EnsemW2SAPI(ModelAPI):
    """What generates in a folder. A question of one message is put as in the run (`serving.prompts`).

    Args:
        model_name: a finished run (its student, where it has one), or the folder of a student or an ensemble.
        trust_remote_code_from: repository whose own code may run (`export.opened`).

    Raises:
        RunError, ModelError, ConfigError: as `export.opened.open_generator`.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  (as the class above)
        trust_remote_code_from: str | None = None,
    ):
        super().__init__(model_name, base_url, api_key, [], config)
        self._generator = open_generator(Path(model_name), trusted=trust_remote_code_from)
        self._prompter, self._limits = Prompter(self._generator), Limits(waiting=WAITING)
        self._worker = Worker({NAME: self._generator}, self._limits)

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Answer a conversation.

        Raises:
            ConfigError: tools, or a setting that is not supported.
            Refused: the models were not trained on such a conversation, or it is too long.
        """
        asked = _asked(input, tools, config)
        contents = self._prompter.chat(asked)
        reply = Reply(self._worker, NAME, contents, timeout=float(config.timeout or A_LONG_TIME))
        form, choices, n_written = ChatForm(self.model_name, has_log_probs=bool(asked.logprobs)), [], 0
        for number, written in enumerate(await reply.all()):
            row = contents[number][0]
            piece = Pieces(self._generator.tokenizer, row.config.stop, skips_space=True).next(written)
            choices.append(_choice(form.choice(number, piece, finish_reason(written.ending)), self.model_name))
            n_written += len(written.log_probs)
        n_read = len(contents[0][0].prompt)
        used = ModelUsage(input_tokens=n_read, output_tokens=n_written, total_tokens=n_read + n_written)
        return ModelOutput(model=self.model_name, choices=choices, usage=used)

    def max_tokens(self) -> int | None:
        """Tokens of an answer where nobody says how many."""
        return self._generator.decoding.max_new_tokens

    def max_connections(self) -> int:
        """Number of answers that are written together."""
        return self._limits.rows

    def close(self) -> None:
        """Finish what is under way."""
        self._worker.close()


def _asked(messages: list[ChatMessage], tools: list[ToolInfo], config: GenerateConfig) -> ChatCompletion:
    if tools:
        raise ConfigError(f"tools: {tools[0].name}: the models call none; choose a task without")
    if given := [name for name in UNSUPPORTED if getattr(config, name) not in (None, 0, 0.0)]:
        raise ConfigError(f"{', '.join(given)}: not supported; leave it out")
    return ChatCompletion(
        model=NAME,
        messages=[_message(message) for message in messages],
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed,
        stop=config.stop_seqs or None,
        n=config.num_choices,
        logprobs=config.logprobs,
        top_logprobs=config.top_logprobs if config.logprobs else None,
    )


def _message(message: ChatMessage) -> Message:
    if message.role == "tool":
        raise ConfigError("messages: one is of a tool, and the models call none; choose a task without")
    return Message(role=message.role, content=message.text)


def _choice(choice: dict[str, Any], model: str) -> ChatCompletionChoice:
    log_probs = choice["logprobs"]
    return ChatCompletionChoice(
        message=ChatMessageAssistant(content=choice["message"]["content"], model=model, source="generate"),
        stop_reason="stop" if choice["finish_reason"] == "stop" else "max_tokens",
        logprobs=None if log_probs is None else Logprobs(content=log_probs["content"]),
    )
