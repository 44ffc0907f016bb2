"""How fast this machine does each kind of work: the run's own functions on a few of its own examples."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping

import torch

from ensemw2s.core import intervals
from ensemw2s.core.seeds import stream
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.prepared import Prepared, SeedContext
from ensemw2s.services.planning.class_trials import ClassTrials
from ensemw2s.services.planning.trials import RoleTrials, Trial
from ensemw2s.services.planning.units import Kind
from ensemw2s.services.planning.word_trials import AnswerTrials

Rates = Mapping[Kind, float]
"""Seconds per unit of amount (`units.Unit.amount`)."""
SECONDS = 10.0
"""For all measurements together; each is made at least twice, so that large models take longer."""


def measured_rates(prepared: ClassPrepared | AnswerPrepared, seed: SeedContext, kinds: Collection[Kind]) -> Rates:
    """Seconds per unit of amount of these kinds of work.

    Args:
        seed: whose examples are used.
        kinds: those of the experiment's units.
    """
    of_role: dict[str, RoleTrials] = {
        name: AnswerTrials(prepared, seed, name)
        if isinstance(prepared, AnswerPrepared)
        else ClassTrials(prepared, seed, name)
        for name in prepared.roles
    }

    def seconds(kind: Kind) -> float:
        verb, name = kind
        trial = _interval_trial(prepared) if verb == "interval" else of_role[name].of(verb)
        return measured(trial.work, SECONDS / len(kinds)) / trial.amount()

    return {kind: seconds(kind) for kind in kinds}


def _interval_trial(prepared: Prepared) -> Trial:
    split, n_seeds = prepared.split, len(prepared.config.seeds)
    groups = split.groups[torch.tensor(list(split.pools[split.tests[-1]]))]
    drawn = intervals.Resamples.draw(groups, n_seeds, stream(0, "plan"))
    values = torch.rand(n_seeds, len(groups), dtype=torch.float64)
    return Trial(lambda: intervals.mean_interval(values, drawn), lambda: 1.0)


def measured(work: Callable[[], object], seconds: float) -> float:
    """Median seconds of one call after a first one; no further call once `seconds` are spent, but always a second."""
    work()
    found: list[float] = []
    begun = time.perf_counter()
    while not found or time.perf_counter() - begun + found[-1] < seconds:
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def peak_memory() -> int:
    """Bytes that this process held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
