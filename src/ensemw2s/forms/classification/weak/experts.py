"""Experts that classify: what they learn from, how their votes are combined, and the labels they give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import ModelConfig, TrainConfig, canonical_hash
from ensemw2s.core.losses import SOFTMAX
from ensemw2s.core.metrics import accuracy
from ensemw2s.ensemble.fit import Weak
from ensemw2s.ensemble.label import Chosen, Ensemble, best_size
from ensemw2s.ensemble.learners.prompted import PromptedLearner
from ensemw2s.ensemble.learners.tfidf import TfidfLearner
from ensemw2s.ensemble.learners.trunk import TrunkLearner
from ensemw2s.evaluation import costs
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.evaluation.scored import HARD
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.role import ClassRole
from ensemw2s.forms.classification.strong.outside import SeedVoters, joined_labels
from ensemw2s.forms.classification.tfidf import TfidfRole
from ensemw2s.forms.classification.weak.asked import Ask, ensemble_says, expert_says
from ensemw2s.forms.classification.weak.gate import gated
from ensemw2s.forms.classification.weak.merging import merged_classifier
from ensemw2s.forms.classification.weak.trainer import ClassTrainer
from ensemw2s.forms.costs import evaluation_cost, training_cost, trunk_cost, validation_cost
from ensemw2s.forms.merging import SCALES, Merged
from ensemw2s.forms.prepared import SeedContext, rows_of
from ensemw2s.records import Considered, Expert, WeakLabels
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, artifact_key
from ensemw2s.tables import METHODS
from ensemw2s.train.samples import Validation

LABEL_VERSION = 2


@dataclass(frozen=True)
class ClassVoters:
    """Who answers in a condition, by their one evaluation."""

    log_probs: Mapping[str, Float[Tensor, "_ classes"]]
    """Of each part."""
    link: str = SOFTMAX
    """How a student's logits become probabilities: a name in the table of links."""
    state: Mapping[str, Tensor] | None = None
    """Trained parameters of a student."""
    ask: Ask | None = None
    """What they say of prompts that are worded otherwise; None of those who are not asked that."""


@dataclass(frozen=True)
class ClassExperts:
    """Implements `forms.experts.ExpertForm`."""

    prepared: ClassPrepared

    def trainers(self, seed: SeedContext, training: TrainConfig) -> tuple[ClassTrainer, ...]:
        pool = zip(self.prepared.pool, self.prepared.config.pool, strict=True)
        return tuple(self._trainer(role, seed, training.resolved(model, has_optimum=True)) for role, model in pool)

    def _trainer(self, role: ClassRole | TfidfRole, seed: SeedContext, training: TrainConfig) -> ClassTrainer:
        prepared, rows, val = self.prepared, seed.draw.easy_train, seed.draw.easy_val
        validation = Validation(val, prepared.split.easy_labels[val])
        contexts, settings = prepared.contexts.get(seed.seed), prepared.config.ensemble
        learner: TrunkLearner | TfidfLearner
        beside: dict[str, Any] = {}
        if isinstance(role, TfidfRole):
            words = prepared.words(seed)
            learner = TfidfLearner(words, validation, training.class_weights == "balanced")
            beside = {"words": words.known.tolist(), "validation": [val.tolist(), validation.labels.tolist()]}
        else:
            builder = role.builder(training, prepared.n_classes)
            in_context = None if contexts is None else contexts.pooled
            learner = TrunkLearner(
                role.inputs, builder, training, role.at_depth, in_context=in_context, validation=validation
            )
        weak = Weak(
            learner=learner,
            X=torch.arange(len(prepared.split.examples)),
            rows=rows,
            labels=prepared.split.easy_labels[rows],
            # The split's own groups: they hold together what has like text, too.
            group_ids=[str(g) for g in prepared.split.groups[rows].tolist()],
            n_classes=prepared.n_classes,
            n_layers=role.n_layers,
            untrained=None if contexts is None else PromptedLearner(contexts.ask, settings.context.calibrate),
        )
        return ClassTrainer(prepared, role, weak, training, validation, beside, contexts)

    def choose(self, seed: SeedContext, experts: Sequence[Expert], keys: Sequence[str]) -> Chosen:
        val, config = seed.draw.easy_val, self.prepared.config.ensemble
        plain = best_size(experts, config, val, self.prepared.split.easy_labels[val])
        return gated(self.prepared, seed, experts, keys, plain) if config.vote == "gated" else plain

    def member_accuracy(self, seed: SeedContext, experts: Sequence[Expert], keys: Sequence[str]) -> list[float]:
        val = seed.draw.easy_val
        labels = self.prepared.split.easy_labels[val]
        return [accuracy(expert.log_probs[val], labels) for expert in experts]

    def ensemble_voters(self, seed: SeedContext, ensemble: Ensemble, model: ModelConfig | None = None) -> ClassVoters:
        asked = rows_of(self.prepared, seed) | {HARD: seed.draw.hard_unlabelled}
        return ClassVoters(
            {part: ensemble.log_probs(rows) for part, rows in asked.items()},
            ask=partial(ensemble_says, ensemble=ensemble, model=model),
        )

    def expert_voters(self, seed: SeedContext, expert: Expert, key: str) -> ClassVoters:
        return ClassVoters(
            {part: expert.log_probs[rows] for part, rows in rows_of(self.prepared, seed).items()},
            ask=partial(expert_says, expert=expert, key=key),
        )

    def cost(self, seed: SeedContext, experts: Sequence[Expert], training: TrainConfig) -> Cost:
        """One pass of each trunk over all examples gives every depth, one more each context; each expert is evaluated
        on all of them."""
        everything = torch.arange(len(self.prepared.split.examples))
        plain = [expert for expert in experts if expert.view.context is None]
        parts = [trunk_cost(role, int(role.lengths.sum())) for role in self._trunks(plain)]
        parts += self._behind_contexts(seed, experts)
        for expert in experts:
            parts += [*self._trained(seed, expert, training), self._asked(expert, everything)]
        if self.prepared.config.ensemble.vote == "gated" and len(experts) > 1:
            parts.append(self._features_of_gate())
        return costs.total(parts)

    def _trained(self, seed: SeedContext, expert: Expert, training: TrainConfig) -> list[Cost]:
        role, draw, taken = self.prepared.pool[expert.member], seed.draw, self._resolved(training, expert.member)
        n_val, n_val_tokens = len(draw.easy_val), int(role.lengths[draw.easy_val].sum())
        owned, seen = role.owned_by(expert.state), taken.passes_of(expert.end) * len(draw.easy_train)
        return [
            training_cost(role, owned=owned, tokens=expert.training_tokens, examples=seen),
            validation_cost(role, owned=owned, passes=expert.validations, tokens=n_val_tokens, examples=n_val),
            *(
                part
                for each in expert.considered
                for part in self._considered(each, seed, self._resolved(training, each.member))
            ),
        ]

    def _asked(self, expert: Expert, rows: Tensor, times: int = 1) -> Cost:
        role = self.prepared.pool[expert.member]
        owned, n_tokens = role.owned_by(expert.state), times * int(role.lengths[rows].sum())
        return evaluation_cost(role, owned=owned, tokens=n_tokens, examples=times * len(rows))

    def _features_of_gate(self) -> Cost:
        """A pass over all examples by the whole untrained model; heads read the same features."""
        role = self.prepared.pool[0]
        if role.config.adapter == "head":
            return NOTHING
        whole = (role.trunk_flops + role.own_flops) * int(role.lengths.sum())
        return NOTHING.model_copy(update={"flops": whole})

    def merge(self, seed: SeedContext, ensemble: Ensemble, name: str) -> Merged:
        merging, one = merged_classifier(self.prepared, seed, ensemble, name)
        training, val = self.prepared.config.expert_training, seed.draw.easy_val
        parts = [trunk_cost(role, int(role.lengths.sum())) for role in self._trunks(ensemble.experts)]
        for expert in ensemble.experts:  # on easy-val, how many of them are merged is chosen
            parts += [*self._trained(seed, expert, training), self._asked(expert, val)]
        everything = torch.arange(len(self.prepared.split.examples))
        parts += [self._asked(one.experts[0], val, len(SCALES)), self._asked(one.experts[0], everything)]
        voters = self.ensemble_voters(seed, one, merging.merged_model)
        return Merged(one, merging.merged_model, voters, costs.total(parts), one.keys[0])

    def _behind_contexts(self, seed: SeedContext, experts: Sequence[Expert]) -> list[Cost]:
        """One more pass for each context, and writing those that are written."""
        contexts = self.prepared.contexts.get(seed.seed)
        if contexts is None:
            return []
        read = {(e.view.context, METHODS[e.method].learns) for e in experts if e.view.context is not None}
        tokens = (contexts.n_read(number, is_asked=not learns) for number, learns in sorted(read))
        written = contexts.writing_cost({number for number, _ in read})
        return [trunk_cost(contexts.role, n) for n in tokens] + written

    def _resolved(self, training: TrainConfig, member: int) -> TrainConfig:
        return training.resolved(self.prepared.config.pool[member], has_optimum=True)

    def _trunks(self, experts: Sequence[Expert]) -> list[ClassRole | TfidfRole]:
        """The deepest of each checkpoint that these experts, or those that were considered, read."""
        places = {expert.member for expert in experts}
        places |= {each.member for expert in experts for each in expert.considered}
        deepest: dict[str, ClassRole | TfidfRole] = {}
        for place in sorted(places):
            role = self.prepared.pool[place]
            if role.checkpoint not in deepest or role.trunk_flops > deepest[role.checkpoint].trunk_flops:
                deepest[role.checkpoint] = role
        return list(deepest.values())

    def _considered(self, one: Considered, seed: SeedContext, training: TrainConfig) -> list[Cost]:
        """What it cost to know how good a member of the pool would be."""
        role, n_val = self.prepared.pool[one.member], len(seed.draw.easy_val)
        owned = role.n_owned(training, self.prepared.n_classes)
        per_example, n_val_tokens = float(role.lengths.double().mean()), int(role.lengths[seed.draw.easy_val].sum())
        n_tokens, n = round(one.n_evaluated * per_example), one.n_evaluated
        return [
            training_cost(role, owned=owned, tokens=one.tokens, examples=training.passes * one.n_learned),
            evaluation_cost(role, owned=owned, tokens=n_tokens, examples=n),
            validation_cost(role, owned=owned, passes=one.validations, tokens=n_val_tokens, examples=n_val),
        ]

    def label(self, seed: SeedContext, ensemble: Ensemble, voters: ClassVoters) -> tuple[WeakLabels, Cost]:
        """The ensemble's labels, which outside voters have a part in."""
        hard = seed.draw.hard_unlabelled
        labels = ensemble.label(hard, self.prepared.names_of(hard))
        if (outside := SeedVoters.of(self.prepared, seed)) is not None:
            labels = joined_labels(labels, outside.names, outside.hard, outside.trust(labels.soft))
        record = {
            "ids": labels.ids,
            "expert_ids": labels.expert_ids,
            "temperature": labels.temperature,
            "config_hash": canonical_hash(self.prepared.config),
        }
        names = ("soft", "member", "confidence", "agreement", "expert_weights")
        tensors = {name: getattr(labels, name) for name in names}
        if labels.voted is not None:
            tensors["voted"] = labels.voted
        key = artifact_key(LABEL_VERSION, {"record": record, "soft": canonical_hash(labels.soft.tolist())})
        seed.memo("labels", key, lambda: Artifact(tensors, record))
        return labels, NOTHING
