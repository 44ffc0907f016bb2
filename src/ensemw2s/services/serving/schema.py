"""What may be asked. A field that would change an answer and is not supported is refused, never passed over."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_CHOICES = 64
MOST_LIKELIEST = 20

Zero = Annotated[float, Field(ge=0, le=0)]
Stop = Annotated[str, Field(min_length=1)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str


class StreamOptions(BaseModel):
    """Of `stream`."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool = False


class Sampled(_Asked):
    """What the two ways of writing have in common. What is left out is as the run has it."""

    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    """With the prompt it decides every draw, so the same request gets the same answer."""
    stop: Stop | list[Stop] | None = None
    """Texts that end the answer, instead of those of the run."""
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    user: str | None = None
    """Has no effect."""

    @property
    def n_choices(self) -> int:
        """Number of answers to a prompt."""
        return self.n or 1


class Completion(Sampled):
    """Body of `/v1/completions`: prompts that are read as they are."""

    prompt: str | list[str] | list[Annotated[int, Field(ge=0)]] | list[list[Annotated[int, Field(ge=0)]]]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=MOST_LIKELIEST)] | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None


class Part(BaseModel):
    """Of a message in parts."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A turn of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None

    @property
    def text(self) -> str:
        """All of its content."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatCompletion(Sampled):
    """Body of `/v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LIKELIEST)] | None = None


class Classification(_Asked):
    """Body of `/v1/classify`."""

    input: str | dict[str, Any] | list[str] | list[dict[str, Any]]
    """Texts, or rows with the columns of the run's prompt template."""
