"""Routing signals in the store: what a run keeps for the annotation queue."""

from typing import Any

from ensemw2s.core.routing import RoutingSignals, Trusted
from ensemw2s.evaluation.routing_signals import RoutingRecord
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.storage.store import Artifact, artifact_key

KIND = "routing_signals"
VERSION = 1
_TEXTS = ("ids", "answers", "checker")


def keep(context: SeedContext, signals: RoutingRecord) -> RoutingRecord:
    """Keep them, by their content."""
    made = as_artifact(signals)
    content = {name: tensor.tolist() for name, tensor in made.tensors.items()}
    key = artifact_key(VERSION, {"record": made.record, **content})
    return from_artifact(context.memo(KIND, key, lambda: made))


def as_artifact(signals: RoutingRecord) -> Artifact:
    """Tensors and record."""
    tensors = {f"hard/{name}": t for name, t in signals.hard._asdict().items()}
    if signals.trusted is not None:
        tensors |= {f"val/{name}": t for name, t in signals.trusted.signals._asdict().items()}
        tensors |= {"val/right": signals.trusted.right, "val/checker_right": signals.trusted.checker_right}
    names = ("seed", "method", "members", *_TEXTS)
    return Artifact(tensors, {name: getattr(signals, name) for name in names})


def from_artifact(kept: Artifact) -> RoutingRecord:
    """The signals as they were kept."""
    hard, val = (
        {n.removeprefix(part): t for n, t in kept.tensors.items() if n.startswith(part)} for part in ("hard/", "val/")
    )
    trusted = None
    if val:
        right, checker_right = val.pop("right"), val.pop("checker_right")
        trusted = Trusted(RoutingSignals(**val), right, checker_right)
    record = kept.record
    texts: dict[str, Any] = {name: tuple(record[name]) for name in _TEXTS}
    members = tuple(tuple(each) for each in record["members"])
    return RoutingRecord(
        record["seed"], record["method"], members=members, hard=RoutingSignals(**hard), trusted=trusted, **texts
    )
