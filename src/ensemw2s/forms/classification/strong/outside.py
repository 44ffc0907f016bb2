"""Outside voters of one seed: how far each is to be believed, and their votes beside the models'."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core.labels import Votes
from ensemw2s.core.labels.base import agreement
from ensemw2s.core.labels.outside import OutsideVotes, Trust, learn_trust, with_outside
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.records import WeakLabels


@dataclass(frozen=True)
class SeedVoters:
    """The outside voters as one seed sees them."""

    names: tuple[str, ...]
    hard: OutsideVotes
    """Votes on the unlabelled examples."""
    easy: OutsideVotes
    """Votes on the labelled ones, training and validation part."""
    easy_labels: Int[Tensor, " easy"]

    @classmethod
    def of(cls, prepared: ClassPrepared, seed: SeedContext) -> "SeedVoters | None":
        """None where the task has no outside voters."""
        if prepared.votes is None:
            return None
        easy = torch.cat([seed.draw.easy_train, seed.draw.easy_val])
        return cls(
            prepared.votes.voters,
            prepared.votes.on(seed.draw.hard_unlabelled),
            prepared.votes.on(easy),
            prepared.split.easy_labels[easy],
        )

    def trust(self, soft: Float[Tensor, "hard classes"]) -> Trust:
        """How far to believe each, beside models that label the unlabelled examples so."""
        return learn_trust(self.hard, soft, self.easy, self.easy_labels)

    def join(self, votes: Votes) -> Votes:
        """Votes of models on the unlabelled examples, and the outside ones."""
        return with_outside(votes, self.hard, self.trust(votes.soft))


def joined_labels(labels: WeakLabels, names: tuple[str, ...], votes: OutsideVotes, trust: Trust) -> WeakLabels:
    """An ensemble's labels, and outside votes on the same examples."""
    both = with_outside(Votes(labels.member, labels.expert_weights, labels.soft), votes, trust)
    return replace(
        labels,
        soft=both.soft,
        member=both.member,
        confidence=both.confidence,
        agreement=agreement(both.member, both.soft.argmax(-1), both.voted).float(),
        expert_ids=labels.expert_ids + tuple(f"voter/{name}" for name in names),
        expert_weights=both.weights,
        voted=both.voted,
        models=labels,
    )
