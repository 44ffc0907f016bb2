"""The answers of one request, on their way from the worker's thread into the event loop."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ensemw2s.ensemble.words.decode import Row
from ensemw2s.services.serving.worker import Job, Refused, Worker, Written

LOG = logging.getLogger(__name__)


class Reply:
    """Iterates over (number of the answer, what is known of it) until every answer has ended, once.

    Args:
        contents: an answer to be written or a prompt to be classified, each with its number of tokens.
        timeout: seconds from now after which nobody waits any longer.

    Raises:
        Refused: there is no room in the queue.
    """

    def __init__(
        self,
        worker: Worker,
        model: str,
        contents: Sequence[tuple[Row | str, int]],
        *,
        timeout: float,
        tells_each_token: bool = False,
    ):
        self._loop, self._timeout = asyncio.get_running_loop(), timeout
        self._events: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self._jobs = [
            Job(content, n_tokens, self._teller(number), tells_each_token)
            for number, (content, n_tokens) in enumerate(contents)
        ]
        worker.submit(model, self._jobs)

    async def __aiter__(self) -> AsyncIterator[tuple[int, Any]]:
        """See the class.

        Raises:
            Refused: the time is over, or a model failed.
        """
        deadline, n_open = self._loop.time() + self._timeout, len(self._jobs)
        try:
            while n_open:
                try:
                    async with asyncio.timeout_at(deadline):
                        number, event = await self._events.get()
                except TimeoutError:
                    raise Refused(504, f"no answer within {self._timeout:g} seconds; ask again, or for less") from None
                if isinstance(event, Exception):
                    LOG.error("a model failed: %r", event, exc_info=event)
                    raise Refused(500, f"the model failed ({type(event).__name__}); see the server's log")
                n_open -= not (isinstance(event, Written) and event.ending is None)
                yield number, event
        finally:
            self.drop()

    async def all(self) -> list[Any]:
        """The last that is known of each answer, in order. Raises Refused as the iteration."""
        last = {number: event async for number, event in self}
        return [last[number] for number in range(len(self._jobs))]

    def drop(self) -> None:
        """Nobody waits for these answers any more."""
        for job in self._jobs:
            job.is_dropped = True

    def _teller(self, number: int) -> Any:
        def tell(event: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._events.put_nowait, (number, event))

        return tell
