"""The routes: each reads a request, has it answered and gives the answer its form."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from ensemw2s.export.ensembles.generator import Generator
from ensemw2s.export.opened import Classifier
from ensemw2s.services.serving.openai import ChatForm, Form, TextForm, error_body, finish_reason, usage
from ensemw2s.services.serving.pieces import Piece, Pieces
from ensemw2s.services.serving.prompts import Content, Prompter, to_classify
from ensemw2s.services.serving.reply import Reply
from ensemw2s.services.serving.schema import ChatCompletion, Classification, Completion, Sampled
from ensemw2s.services.serving.worker import Limits, Refused, Worker, Written

LOOK_S = 0.5
"""Seconds between two looks whether the client is still there."""
T = TypeVar("T")
Models = Mapping[str, Generator | Classifier]


def make_app(models: Models, limits: Limits, *, timeout: float, api_key: str | None = None) -> FastAPI:
    """The application. Its models run from its startup to its shutdown, which waits for the answers under way.

    Args:
        models: by the name that requests ask for.
        timeout: seconds after which a request is given up.
        api_key: what clients must bring; None lets everybody in.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.worker = Worker(models, limits)
        yield
        await asyncio.to_thread(app.state.worker.close)

    app = FastAPI(title="EnsemW2S", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.models, app.state.timeout, app.state.started = models, timeout, int(time.time())

    async def has_key(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if api_key is not None and not hmac.compare_digest(given.encode(), api_key.encode()):
            raise Refused(401, "the API key is missing or wrong; send it as `Authorization: Bearer KEY`")

    guarded: dict[str, Any] = {"dependencies": [Depends(has_key)], "response_model": None}
    app.add_api_route("/health", health)
    app.add_api_route("/v1/models", list_models, **guarded)
    app.add_api_route("/v1/models/{name}", show_model, **guarded)
    app.add_api_route("/v1/completions", completions, methods=["POST"], **guarded)
    app.add_api_route("/v1/chat/completions", chat_completions, methods=["POST"], **guarded)
    app.add_api_route("/v1/classify", classify, methods=["POST"], **guarded)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        headers = {"Retry-After": "1"} if error.status in (429, 503) else None
        return JSONResponse(error_body(error.status, str(error)), error.status, headers)

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse(error_body(400, _faults(error)), 400)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code)

    return app


async def health(request: Request) -> dict[str, Any]:
    """Whether it is there, and how many prompts wait."""
    return {"status": "ok", "waiting": request.app.state.worker.n_waiting}


async def list_models(request: Request) -> dict[str, Any]:
    """What can be asked for."""
    return {"object": "list", "data": [_about(request, name) for name in request.app.state.models]}


async def show_model(request: Request, name: str) -> dict[str, Any]:
    """One of them."""
    return _about(request, name)


async def completions(request: Request, asked: Completion) -> Any:
    """Go on with a text."""
    generator = _model(request, asked.model, Generator)
    contents = Prompter(generator).completion(asked)
    form = TextForm(asked.model, has_log_probs=asked.logprobs is not None)
    return await _written(request, asked, generator, contents, form)


async def chat_completions(request: Request, asked: ChatCompletion) -> Any:
    """Answer a question, as the run's own questions were answered."""
    generator = _model(request, asked.model, Generator)
    contents = Prompter(generator).chat(asked)
    form = ChatForm(asked.model, has_log_probs=bool(asked.logprobs))
    return await _written(request, asked, generator, contents, form)


async def classify(request: Request, asked: Classification) -> dict[str, Any]:
    """Choose a class, and say how sure and how unanimous the members are."""
    classifier = _model(request, asked.model, Classifier)
    prompts = to_classify(asked, classifier)
    state = request.app.state
    reply = Reply(state.worker, asked.model, prompts, timeout=state.timeout)
    labels = await _while_connected(request, reply)
    data = [{"index": n, **label} for n, label in enumerate(labels)]
    used = usage(sum(n_tokens for _, n_tokens in prompts), 0)
    return {"object": "list", "model": asked.model, "data": data, "usage": used}


@dataclass
class _Answer:
    """What has been told of one answer."""

    pieces: Pieces
    n_prompt: int
    n_told: int = 0
    n_tokens: int = 0

    def next(self, written: Written) -> Piece:
        self.n_tokens = len(written.log_probs)
        self.n_told += 1
        return self.pieces.next(written)


async def _written(request: Request, asked: Sampled, generator: Generator, contents: list[Content], form: Form) -> Any:
    state = request.app.state
    reply = Reply(state.worker, asked.model, contents, timeout=state.timeout, tells_each_token=bool(asked.stream))
    is_chat = isinstance(form, ChatForm)
    answers = [
        _Answer(Pieces(generator.tokenizer, row.config.stop, skips_space=is_chat), len(row.prompt))
        for row, _ in contents
    ]
    if asked.stream:
        has_usage = asked.stream_options is not None and asked.stream_options.include_usage
        events = _events(reply, answers, form, asked.n_choices, has_usage)
        return StreamingResponse(events, media_type="text/event-stream")
    choices = []
    for number, written in enumerate(await _while_connected(request, reply)):
        choices.append(form.choice(number, answers[number].next(written), finish_reason(written.ending)))
    return form.body(choices, _used(answers, asked.n_choices))


async def _events(
    reply: Reply, answers: list[_Answer], form: Form, n_choices: int, has_usage: bool
) -> AsyncIterator[str]:
    """Server-sent events of a stream; what goes wrong in the middle of it is an event, too."""
    try:
        async for number, written in reply:
            is_first = not answers[number].n_told
            piece, reason = answers[number].next(written), finish_reason(written.ending)
            if piece.text or piece.tokens or reason or is_first:
                choice = form.choice(number, piece, reason, is_chunk=True, is_first=is_first)
                yield _event(form.body([choice], is_chunk=True))
        if has_usage:
            yield _event(form.body([], _used(answers, n_choices), is_chunk=True))
        yield "data: [DONE]\n\n"
    except Refused as error:
        yield _event(error_body(error.status, str(error)))


async def _while_connected(request: Request, reply: Reply) -> list[Any]:
    """All answers; they are given up where the client goes away."""
    everything = asyncio.ensure_future(reply.all())
    try:
        while not (await asyncio.wait({everything}, timeout=LOOK_S))[0]:
            if await request.is_disconnected():
                raise Refused(499, "the client has gone")
        return everything.result()
    finally:
        everything.cancel()
        reply.drop()


def _used(answers: list[_Answer], n_choices: int) -> dict[str, int]:
    n_prompt = sum(answer.n_prompt for answer in answers[::n_choices])  # read once for all of a prompt's answers
    return usage(n_prompt, sum(answer.n_tokens for answer in answers))


def _event(body: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False, allow_nan=False)}\n\n"


def _model(request: Request, name: str, kind: type[T]) -> T:
    """The model of this name, which must be of the kind that the route needs. Raises Refused."""
    model = _named(request, name)
    if not isinstance(model, kind):
        use = "/v1/completions" if isinstance(model, Generator) else "/v1/classify"
        raise Refused(400, f"model: {name} does not answer in this way; ask it at {use}")
    return model


def _named(request: Request, name: str) -> Generator | Classifier:
    models: Models = request.app.state.models
    if name not in models:
        raise Refused(404, f"model: there is no {name!r}; there is {', '.join(models)}")
    return models[name]


def _about(request: Request, name: str) -> dict[str, Any]:
    model = _named(request, name)
    about = {"id": name, "object": "model", "created": request.app.state.started, "owned_by": "ensemw2s"}
    template = {"template": model.prompting.template}
    if isinstance(model, Generator):
        return about | template | {"answers": "text", "members": model.members.n_members, "max_tokens": model.longest}
    return about | template | {"answers": "class", "choices": list(model.choices)}


def _faults(error: RequestValidationError) -> str:
    """Every wrong field with its problem."""
    faults = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"] if part != "body")
        faults.append(f"{place or 'body'}: {fault['msg']}")
    return "; ".join(dict.fromkeys(faults))
