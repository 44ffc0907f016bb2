"""Weak labels as demonstrations: the strong model, untrained, reads some of them before each question (2402.00667)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.config import canonical_hash
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.contexts import shown
from ensemw2s.ensemble.learners.prompted import PromptedLearner
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.forms.base import SeedContext, rows_of
from ensemw2s.forms.classification.experts import ClassVoters
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.models.activations import pooled_for_depths
from ensemw2s.models.likelihood import choice_likelihood
from ensemw2s.prompting import ids_behind
from ensemw2s.records import View, WeakLabels
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, artifact_key

VERSION = 1
"""Raise it when what is read, or how it is calibrated, changes."""


@dataclass(frozen=True)
class InContext:
    """The strong model behind demonstrations of weak labels, for one seed."""

    prepared: ClassPrepared
    seed: SeedContext
    n: int

    def answers(self, labels: WeakLabels) -> tuple[ClassVoters, Cost]:
        """What it says of easy-val and of the tests, calibrated on the easy training examples, and what that costs."""
        prepared, role, settings = self.prepared, self.prepared.strong, self.prepared.config.ensemble.context
        parts, train = rows_of(prepared, self.seed), self.seed.draw.easy_train
        rows = torch.cat([train, *parts.values()])
        prompts = [prepared.split.examples[row].prompt for row in rows.tolist()]
        likelihood = choice_likelihood(role.backbone, role.config.model, prepared.task.choices, reads_shared=True)
        before = self.before(labels.soft)
        prefix, ids = ids_behind(role.backbone.tokenizer, before, prompts, is_causal=role.backbone.is_causal)
        ids = [[*own, *likelihood.shared] for own in ids]

        def compute() -> Artifact:
            depth, backbone = role.backbone.n_layers, replace(role.backbone, pooling=("last",))
            cache = prepared.config.cache.model_copy(update={"trunk_cache": "memory"})  # the answers are kept
            states = pooled_for_depths(backbone, ids, [depth], cache=cache, store=self.seed.store, prefix=prefix)[depth]
            said = likelihood(states.batch(torch.arange(len(rows)))[0][:, 0])
            return Artifact({"log_probs": calibrated_answers(said, target, settings.calibrate)}, {})

        target = one_hot(prepared.split.easy_labels[train], prepared.n_classes).float()
        key = artifact_key(
            VERSION,
            {
                "data": prepared.fingerprint,
                "rows": rows.tolist(),
                "n_train": len(train),
                "strong": role.fingerprint,
                "before": canonical_hash(before),
                "calibrate": settings.calibrate,
            },
        )
        log_probs = self.seed.memo("in_context", key, compute).tensors["log_probs"]
        each = log_probs.split([len(part) for part in parts.values()])
        flops = (role.trunk_flops + role.own_flops) * (len(prefix) + sum(map(len, ids)))
        return ClassVoters(dict(zip(parts, each, strict=True))), NOTHING.model_copy(update={"flops": flops})

    def before(self, soft: Float[Tensor, "hard classes"]) -> str:
        """The most confident labels, balanced over the classes, in an order of the seed's own."""
        hard, choices = self.seed.draw.hard_unlabelled, self.prepared.task.choices
        places, answers = most_confident(soft, self.n), soft.argmax(-1)
        order = torch.randperm(self.n, generator=stream(self.seed.seed, "in_context")).tolist()
        return shown(
            [
                (self.prepared.split.examples[int(hard[place])].prompt, choices[int(answers[place])])
                for place in (places[i] for i in order)
            ]
        )


def calibrated_answers(
    said: Float[Tensor, "rows classes"], target: Float[Tensor, "train classes"], calibrate: str
) -> Float[Tensor, "tested classes"]:
    """Answers to the rows after the training ones, calibrated on these as a prompted member is."""
    n = len(target)
    learner = PromptedLearner(lambda _, rows: said[rows], "mean" if calibrate == "mean" else "none")
    fitted = learner.adapted(torch.arange(n), View(context=0), 0).fit(torch.arange(n), target, torch.ones(n), seed=0)
    return fitted.log_probs(torch.arange(n, len(said)))


def most_confident(soft: Float[Tensor, "items classes"], n: int) -> list[int]:
    """The n most confident items, a class after the other in turn; a class that has no more leaves its turn to the
    most confident item of any."""
    confidence, answers = soft.max(-1)
    order: Sequence[int] = confidence.argsort(descending=True, stable=True).tolist()
    left = dict.fromkeys(order)
    for turn in range(n):
        wanted = turn % soft.shape[1]
        place = next((item for item in left if int(answers[item]) == wanted), next(iter(left)))
        del left[place]
    return [item for item in order if item not in left]
