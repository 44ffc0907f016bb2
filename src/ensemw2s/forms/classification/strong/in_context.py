"""Weak labels as demonstrations: the strong model, untrained, reads some of them before each question (2402.00667)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.config import canonical_hash
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.contexts import shown
from ensemw2s.ensemble.learners.prompted import PromptedLearner
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.weak.experts import ClassVoters
from ensemw2s.forms.prepared import SeedContext, rows_of
from ensemw2s.models.activations import pooled_for_depths
from ensemw2s.models.likelihood import Likelihood, choice_likelihood
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
        parts, before, role = rows_of(self.prepared, self.seed), self.before(labels.soft), self.prepared.strong
        asked = torch.cat(list(parts.values()))
        each = self.says(before, asked).split([len(part) for part in parts.values()])
        prefix, ids = self._read(before, torch.cat([self.seed.draw.easy_train, asked]))
        flops = (role.trunk_flops + role.own_flops) * (len(prefix) + sum(map(len, ids)))
        return ClassVoters(
            dict(zip(parts, each, strict=True)),
            ask=lambda prepared, seed, rows: InContext(prepared, seed, self.n).says(before, rows),
        ), NOTHING.model_copy(update={"flops": flops})

    def says(self, before: str, asked: Int[Tensor, " asked"]) -> Float[Tensor, "asked classes"]:
        """What it says of these rows behind a text."""
        prepared, role, settings = self.prepared, self.prepared.strong, self.prepared.config.ensemble.context
        train = self.seed.draw.easy_train
        rows = torch.cat([train, asked])

        def compute() -> Artifact:
            prefix, ids = self._read(before, rows)
            depth, backbone = role.backbone.n_layers, replace(role.backbone, pooling=("last",))
            cache = prepared.config.cache.model_copy(update={"trunk_cache": "memory"})  # the answers are kept
            states = pooled_for_depths(backbone, ids, [depth], cache=cache, store=self.seed.store, prefix=prefix)[depth]
            said = self._likelihood(states.batch(torch.arange(len(rows)))[0][:, 0])
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
        return self.seed.memo("in_context", key, compute).tensors["log_probs"]

    @property
    def _likelihood(self) -> Likelihood:
        role = self.prepared.strong
        return choice_likelihood(role.backbone, role.config.model, self.prepared.task.choices, reads_shared=True)

    def _read(self, before: str, rows: Int[Tensor, " rows"]) -> tuple[list[int], list[list[int]]]:
        """Tokens that are read once, and those of each row behind them."""
        backbone, shared = self.prepared.strong.backbone, self._likelihood.shared
        prompts = [self.prepared.split.examples[row].prompt for row in rows.tolist()]
        prefix, ids = ids_behind(backbone.tokenizer, before, prompts, is_causal=backbone.is_causal)
        return prefix, [[*own, *shared] for own in ids]

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
