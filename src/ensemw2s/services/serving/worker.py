"""The one thread in which models run: it puts waiting requests together and tells each what became of it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ensemw2s.core.batches import length_batches
from ensemw2s.ensemble.words.decode import Row
from ensemw2s.export.ensembles.generator import Generator
from ensemw2s.export.opened import Classifier


class Refused(Exception):
    """A request is not taken: the status of its answer in HTTP and the reason."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """How much is done and kept at once."""

    waiting: int = 256
    """Number of prompts that may wait. One more is refused."""
    rows: int = 32
    """Number of answers that are written together."""
    tokens: int = 16384
    """Number of tokens that are read together, padding and the longest answers included."""


@dataclass(frozen=True)
class Written:
    """An answer as far as it is written; see `ensemble.decode.Row`."""

    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    likeliest: tuple[list[tuple[int, float]], ...]
    ending: tuple[str, bool] | None


@dataclass(eq=False)
class Job:
    """A prompt to be answered.

    `tell` is called in the worker's thread: with a `Written` or a label, or with the exception that came in between.
    """

    content: Row | str
    """An answer to be written, or a prompt to be classified."""
    n_tokens: int
    """Number of tokens to be read, those of the longest answer included."""
    tell: Callable[[Any], None]
    tells_each_token: bool = False
    is_dropped: bool = False


@runtime_checkable
class Desk(Protocol):
    """What one model does with its jobs; for the worker's thread alone."""

    waiting: list[Job]
    """Jobs that have not been begun, the oldest first."""

    @property
    def is_busy(self) -> bool:
        """Whether there is anything to do."""
        ...

    def work(self) -> None:
        """Do a small part of it, the oldest job's first."""
        ...

    def fail(self, error: Exception) -> None:
        """Tell everybody whose job is under way, and go on with those that wait."""
        ...


class WritingDesk:
    """Answers of a generator. A job joins those under way at the next token, if there is room for it."""

    def __init__(self, generator: Generator, limits: Limits):
        self.waiting: list[Job] = []
        self._generator, self._limits = generator, limits
        self._under_way: list[Job] = []
        self._decoding = generator.begin()

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting or self._under_way)

    def work(self) -> None:
        """Write the next token of each answer, and read the prompts for which there is room."""
        for job in self._under_way:
            if job.is_dropped:
                self._decoding.drop(_row(job))
        self._under_way = [job for job in self._under_way if not job.is_dropped]
        self.waiting = [job for job in self.waiting if not job.is_dropped]
        new = self.waiting[: self._n_fitting()] if self._decoding.can_be_joined else []
        self.waiting = self.waiting[len(new) :]
        self._under_way += new
        if self._decoding.rows:
            self._decoding.step()
        for batch in length_batches([len(_row(job).prompt) for job in new], self._limits.tokens):
            self._decoding.join([_row(new[place]) for place in batch])
        for job in self._under_way:
            row = _row(job)
            if row.ending is not None or job.tells_each_token:
                job.tell(Written(tuple(row.tokens), tuple(row.log_probs), tuple(row.likeliest), row.ending))
        self._under_way = [job for job in self._under_way if _row(job).ending is None]

    def fail(self, error: Exception) -> None:
        """See `Desk`."""
        for job in self._under_way:
            job.tell(error)
        self._under_way, self._decoding = [], self._generator.begin()

    def _n_fitting(self) -> int:
        """Number of waiting jobs, the oldest first, for which there is room; a job of any size fits alone."""
        n, longest = len(self._under_way), max((job.n_tokens for job in self._under_way), default=0)
        for place, job in enumerate(self.waiting):
            n, longest = n + 1, max(longest, job.n_tokens)
            if n > 1 and (n > self._limits.rows or n * longest > self._limits.tokens):
                return place
        return len(self.waiting)


class ClassDesk:
    """Labels of a classifier, a batch of prompts of similar length at a time."""

    def __init__(self, classifier: Classifier, limits: Limits):
        self.waiting: list[Job] = []
        self._classifier, self._limits = classifier, limits
        self._under_way: list[Job] = []

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting)

    def work(self) -> None:
        """Label the batch that the oldest job belongs to."""
        self.waiting = [job for job in self.waiting if not job.is_dropped]
        batches = length_batches([job.n_tokens for job in self.waiting], self._limits.tokens)
        self._under_way = next(([self.waiting[place] for place in batch] for batch in batches if 0 in batch), [])
        self.waiting = [job for job in self.waiting if job not in self._under_way]
        if self._under_way:
            labels = self._classifier.label([str(job.content) for job in self._under_way])
            for job, label in zip(self._under_way, labels, strict=True):
                job.tell(label)
        self._under_way = []

    def fail(self, error: Exception) -> None:
        """See `Desk`."""
        for job in self._under_way:
            job.tell(error)
        self._under_way = []


class Worker:
    """Runs the models in a thread of its own until it is closed.

    Args:
        models: by name.
    """

    def __init__(self, models: Mapping[str, Generator | Classifier], limits: Limits):
        self._limits = limits
        self._desks: dict[str, Desk] = {
            name: WritingDesk(model, limits) if isinstance(model, Generator) else ClassDesk(model, limits)
            for name, model in models.items()
        }
        self._inbox: list[tuple[str, Job]] = []
        self._changed = threading.Condition()  # guards the inbox and what follows
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Number of prompts that nobody has begun to answer."""
        return len(self._inbox) + sum(len(desk.waiting) for desk in self._desks.values())

    def submit(self, model: str, jobs: Sequence[Job]) -> None:
        """Take in these jobs, all or none.

        Raises:
            Refused: there is no room for them, or the server is stopping.
        """
        most = self._limits.waiting
        if len(jobs) > most:
            raise Refused(400, f"{len(jobs):,} answers in one request, and {most:,} may wait; ask for fewer at a time")
        with self._changed:
            if self._is_closing:
                raise Refused(503, "the server is stopping; ask another")
            if self.n_waiting + len(jobs) > most:
                raise Refused(429, f"{self.n_waiting:,} prompts wait, of {most:,} at most; ask again in a moment")
            self._inbox += [(model, job) for job in jobs]
            self._changed.notify()

    def close(self) -> None:
        """Finish every job that is not dropped, and end the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._inbox or self._is_closing or self._busy())
                for model, job in self._inbox:
                    self._desks[model].waiting.append(job)
                self._inbox = []
                if self._is_closing and not self._busy():
                    return
            for desk in self._busy():
                try:
                    desk.work()
                except Exception as error:  # of a model; those who wait for it must hear of it
                    desk.fail(error)

    def _busy(self) -> list[Desk]:
        return [desk for desk in self._desks.values() if desk.is_busy]


def _row(job: Job) -> Row:
    assert isinstance(job.content, Row)
    return job.content
