"""What a run keeps for routing: what an ensemble, its members and the checker say of the unlabelled examples."""

from dataclasses import dataclass
from typing import Any

import torch

from ensemw2s.core.routing import Opinions, Trusted, opinions_of
from ensemw2s.data.answers import is_right
from ensemw2s.pipeline.generation.work import AnswerWork
from ensemw2s.pipeline.students import SELF
from ensemw2s.pipeline.work import Work
from ensemw2s.storage.store import Artifact, artifact_key

OPINIONS = "opinions"
OPINIONS_VERSION = 1


@dataclass(frozen=True)
class Opined:
    """Of one method and seed; no sealed label has a part in it."""

    seed: int
    method: str
    ids: tuple[str, ...]
    answers: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    """Item by item, each voting member's own answer."""
    checker: tuple[str, ...]
    """The answer of the strong model that learned the easy examples."""
    hard: Opinions
    trusted: Trusted | None
    """Of easy-val; None for answers in words, where easy-val is scored and never written out."""

    def artifact(self) -> Artifact:
        tensors = {f"hard/{name}": t for name, t in self.hard._asdict().items()}
        if self.trusted is not None:
            tensors |= {f"val/{name}": t for name, t in self.trusted.opinions._asdict().items()}
            tensors |= {"val/right": self.trusted.right, "val/checker_right": self.trusted.checker_right}
        names = ("seed", "method", "ids", "answers", "members", "checker")
        return Artifact(tensors, {name: getattr(self, name) for name in names})


def from_artifact(found: Artifact) -> Opined:
    """The record as it was kept."""
    tensors, record = found.tensors, found.record
    hard, val = (
        {n.removeprefix(part): t for n, t in tensors.items() if n.startswith(part)} for part in ("hard/", "val/")
    )
    trusted = None
    if val:
        right, checker_right = val.pop("right"), val.pop("checker_right")
        trusted = Trusted(Opinions(**val), right, checker_right)
    lists: dict[str, Any] = {name: tuple(record[name]) for name in ("ids", "answers", "checker")}
    members = tuple(tuple(each) for each in record["members"])
    return Opined(record["seed"], record["method"], members=members, hard=Opinions(**hard), trusted=trusted, **lists)


def kept(work: Work | AnswerWork, opined: Opined) -> Opined:
    """Keep it in the store, by its content."""
    made = opined.artifact()
    key = artifact_key(OPINIONS_VERSION, {"record": made.record, **{n: t.tolist() for n, t in made.tensors.items()}})
    return from_artifact(work.memo(OPINIONS, key, lambda: made))


def class_opinions(work: Work, method: str) -> Opined:
    """Where the answers are classes."""
    assert work.checker is not None  # the students' stage has set it
    choices, said = work.prepared.task.choices, work.weak_labels[method]
    own, own_val = work.checker
    val = work.outcome.ensembles[method].label(work.draw.easy_val, [])
    labels = work.outcome.val_labels
    names = [[choices[k] for k in member] for member in said.member.argmax(-1).T.tolist()]  # [items][experts]
    trusted = Trusted(
        opinions_of(val.soft, val.member, own_val),
        val.soft.argmax(-1) == labels,
        own_val.argmax(-1) == labels,
    )
    return Opined(
        work.seed,
        method,
        said.ids,
        tuple(choices[k] for k in said.hard.tolist()),
        tuple(map(tuple, names)),
        tuple(choices[k] for k in own.argmax(-1).tolist()),
        opinions_of(said.soft, said.member, own),
        trusted,
    )


def answer_opinions(work: AnswerWork, method: str) -> Opined:
    """Where they are words: the checker's probability of another answer than its own counts as 0."""
    said, own = work.outcome.pseudo[method], work.outcome.pseudo[SELF]
    verifier = work.prepared.task.verifier
    same = torch.tensor([is_right(a, b, verifier=verifier) for a, b in zip(own.texts, said.texts, strict=True)])
    # Who says nothing is not to be trusted, however surely.
    speaks = torch.tensor([bool(text.strip()) for text in said.texts]).float()
    hard = Opinions(
        said.confidence.float() * speaks, said.agreement.float() * speaks, own.confidence.float() * same * speaks
    )
    members = tuple(tuple(label["members"]) for label in said.record["labels"])
    ids = tuple(said.record["ids"])
    return Opined(work.seed, method, ids, said.texts, members, own.texts, hard, None)
