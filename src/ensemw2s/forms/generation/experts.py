"""Experts that generate answers: from what they learn to how many of them vote, their labels and their cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.ensemble.label import Chosen, Ensemble, expert_weights
from ensemw2s.ensemble.words.tokens import Options, WeakAnswers, trivial_tokens
from ensemw2s.evaluation import costs
from ensemw2s.forms.costs import evaluation_cost, training_cost, trunk_cost, validation_cost
from ensemw2s.forms.generation.contexts import Prefix
from ensemw2s.forms.generation.labelling.labels import PseudoAnswers, write_pseudo_answers, writing_cost
from ensemw2s.forms.generation.labelling.samples import with_samples
from ensemw2s.forms.generation.merging import merged_answerer
from ensemw2s.forms.generation.pool import pool_labels, pool_right
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.role import AnswerRole
from ensemw2s.forms.generation.scores import AnswerVoters, PoolVoters, Right, Scorer
from ensemw2s.forms.generation.trainer import AnswerTrainer
from ensemw2s.forms.merging import SCALES, Merged, no_log_probs
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.models.adapting.adapters import n_trainable
from ensemw2s.records import AnswerTokens, Considered, Expert
from ensemw2s.results import Cost
from ensemw2s.train.answers import AnswerValidation


@dataclass(frozen=True)
class AnswerExperts:
    """Implements `forms.experts.ExpertForm`."""

    prepared: AnswerPrepared

    @cached_property
    def easy(self) -> tuple[AnswerTokens, ...]:
        """The easy pool's true answers as each weak model's tokens."""
        return tuple(self.prepared.easy_answers(role) for role in self.prepared.pool)

    def trainers(self, seed: SeedContext, training: TrainConfig) -> tuple[AnswerTrainer, ...]:
        return tuple(self.trainer(seed, training, place) for place in range(len(self.prepared.pool)))

    def trainer(self, seed: SeedContext, training: TrainConfig, place: int = 0) -> AnswerTrainer:
        """What trains the experts of one weak model."""
        prepared, role, answers = self.prepared, self.prepared.pool[place], self.easy[place]
        training, rows = training.resolved(role.config, has_optimum=True), seed.draw.easy_train
        generation = prepared.config.generation
        trivial = trivial_tokens(answers, role.backbone.tokenizer)
        inputs = role.open(answers.read)
        weak = WeakAnswers(
            inputs=inputs,
            answers=answers,
            rows=rows,
            # The split's own groups: they hold together what has like text, too.
            group_ids=[str(g) for g in prepared.split.groups[rows].tolist()],
            counted=torch.ones_like(trivial) if generation.count_trivial else ~trivial,
            build=role.builder(training),
            training=training,
            generation=generation,
            options=self._options(seed, role) if prepared.by_choice and generation.boost_unit == "sequence" else None,
            validation=AnswerValidation(inputs, answers, seed.draw.easy_val),
        )
        return AnswerTrainer(prepared, role, weak, prepared.contexts.get(seed.seed))

    def _options(self, seed: SeedContext, role: AnswerRole) -> Options:
        """What the training questions can be answered with."""
        prepared, rows = self.prepared, seed.draw.easy_train
        options = prepared.options(rows)
        answers = role.option_answers(rows, options, prepared.names_of(rows))
        true = [each.index(prepared.split.easy_answers[r]) for each, r in zip(options, rows.tolist(), strict=True)]
        sizes = torch.tensor([len(each) for each in options])
        return Options(role.open(answers.read), answers, sizes, torch.tensor(true))

    def choose(self, seed: SeedContext, experts: Sequence[Expert], keys: Sequence[str]) -> Chosen:
        config = self.prepared.config.ensemble
        if isinstance(config.select_by, int):
            return Chosen(min(config.select_by, len(experts)), 1.0)
        voters = self._voters(seed.seed, experts, keys, expert_weights(experts, config))
        # Whoever was not taught to end an answer gives none exactly, but may find one likelier than another.
        if isinstance(voters, PoolVoters) or (config.select_by == "accuracy" and voters.is_trained):
            # A vote on whole answers knows no likelihood of an answer that nobody gave.
            stages = self._val_right(seed, voters).together.double().mean(1).tolist()
        else:
            easy = self.easy[experts[0].member]
            stages = Scorer(self.prepared, seed.store).scores(voters, easy, seed.draw.easy_val).gold.double()
            stages = stages.mean(1).tolist()
        return Chosen(max(range(len(stages)), key=stages.__getitem__) + 1, 1.0)

    def member_accuracy(self, seed: SeedContext, experts: Sequence[Expert], keys: Sequence[str]) -> list[float]:
        weights = expert_weights(experts, self.prepared.config.ensemble)
        voters = self._voters(seed.seed, experts, keys, weights)
        return self._val_right(seed, voters).member.double().mean(1).tolist()

    def ensemble_voters(self, seed: SeedContext, ensemble: Ensemble) -> AnswerVoters | PoolVoters:
        size = ensemble.selected
        return self._voters(seed.seed, ensemble.voting, ensemble.keys[:size], ensemble.weights(size))

    def expert_voters(self, seed: SeedContext, expert: Expert, key: str) -> AnswerVoters:
        one = AnswerVoters.one(self.prepared.pool[expert.member], key, expert.state)
        return replace(one, prefixes=self._prefixes(seed.seed, [expert]))

    def all_voters(self, ensemble: Ensemble) -> AnswerVoters | PoolVoters:
        """Every expert that was trained, also those after the selected size."""
        return self._voters(ensemble.seed, ensemble.experts, ensemble.keys, ensemble.weights(len(ensemble.experts)))

    def _prefixes(self, seed: int, experts: Sequence[Expert]) -> tuple[Prefix, ...]:
        """What each of these experts reads before every question; experts of one method all read something, or none."""
        numbers = [expert.view.context for expert in experts]
        return tuple(self.prepared.contexts[seed].prefixes[number] for number in numbers if number is not None)

    def _voters(
        self, seed: int, experts: Sequence[Expert], keys: Sequence[str], weights: Tensor
    ) -> AnswerVoters | PoolVoters:
        """Experts of one weak model mix their next tokens; several of a pool vote on whole answers."""
        roles = [self.prepared.pool[expert.member] for expert in experts]
        if len(self.prepared.pool) > 1 and len(experts) > 1:
            each = zip(roles, keys, experts, strict=True)
            return PoolVoters(tuple(AnswerVoters.one(role, key, e.state) for role, key, e in each), weights)
        prefixes = self._prefixes(seed, experts)
        return AnswerVoters(roles[0], tuple(keys), tuple(e.state for e in experts), weights, prefixes)

    def _val_right(self, seed: SeedContext, voters: AnswerVoters | PoolVoters) -> Right:
        rows = seed.draw.easy_val
        truths = [self.prepared.split.easy_answers[r] for r in rows.tolist()]
        if isinstance(voters, PoolVoters):
            return pool_right(self.prepared, seed, voters, rows, truths)
        return Scorer(self.prepared, seed.store).right(voters, rows, truths)

    def merge(self, seed: SeedContext, ensemble: Ensemble, name: str) -> Merged:
        merging, key, voters = merged_answerer(self.prepared, seed, self.easy[0], ensemble, name)
        one = merging.ensemble(voters.states[0], no_log_probs(), 1.0, key)
        n_val, n_val_answer = tokens_of(self.easy[0], seed.draw.easy_val)
        tried = evaluation_cost(
            voters.role,
            owned=owned_by(voters.states[0]),
            tokens=len(SCALES) * n_val,
            examples=len(SCALES) * len(seed.draw.easy_val),
            answer_tokens=len(SCALES) * n_val_answer,
        )
        trained = self.cost(seed, ensemble.experts, self.prepared.config.expert_training)
        return Merged(one, merging.merged_model, voters, costs.total([trained, tried]), key)

    def cost(self, seed: SeedContext, experts: Sequence[Expert], training: TrainConfig) -> Cost:
        """One pass of each trunk over what is learned and validated on; each expert scores easy-val."""
        draw, pool = seed.draw, self.prepared.pool
        tried = {expert.member for expert in experts} | {each.member for e in experts for each in e.considered}
        read = {k: tokens_of(self.easy[k], torch.cat([draw.easy_train, draw.easy_val]))[0] for k in sorted(tried)}
        parts = [trunk_cost(pool[k], n_tokens) for k, n_tokens in read.items()]
        for expert in experts:
            role, easy = pool[expert.member], self.easy[expert.member]
            owned = evaluated_by(role, expert.state)
            before = sum(len(p.ids) for p in self._prefixes(seed.seed, [expert]))
            if before:  # training reads it before each question, all else once
                learned = before * len(draw.easy_train) if expert.state else before
                parts.append(trunk_cost(role, read[expert.member] + learned))
            epochs = training.resolved(role.config, has_optimum=True).passes_of(expert.end)
            n_answer, seen = epochs * len(expert.log_probs), epochs * len(draw.easy_train)
            if expert.state:
                spent = {"tokens": expert.training_tokens, "examples": seen, "answer_tokens": n_answer}
                parts.append(training_cost(role, owned=owned, **spent))
            n_val, n_val_answer = tokens_of(easy, draw.easy_val)
            scored = {"owned": owned, "tokens": n_val, "examples": len(draw.easy_val), "answer_tokens": n_val_answer}
            parts.append(evaluation_cost(role, **scored))
            parts.append(validation_cost(role, passes=expert.validations, **scored))
            parts += [part for each in expert.considered for part in self._considered(each, seed)]
        return costs.total(parts)

    def _considered(self, one: Considered, seed: SeedContext) -> list[Cost]:
        """What it cost to know how good a member of the pool would be."""
        role, easy, draw = self.prepared.pool[one.member], self.easy[one.member], seed.draw
        n_train, (n_tokens, n_answer) = len(draw.easy_train), tokens_of(easy, draw.easy_train)
        n_val, n_val_answer = tokens_of(easy, draw.easy_val)
        owned, judged = self._owned[one.member], one.n_evaluated
        learned = {"tokens": one.tokens, "answer_tokens": one.tokens * n_answer / n_tokens}
        asked = {"tokens": judged * n_tokens / n_train, "answer_tokens": judged * n_answer / n_train}
        scored = {"tokens": n_val, "examples": len(draw.easy_val), "answer_tokens": n_val_answer}
        return [
            training_cost(role, owned=owned, examples=one.n_learned, **learned),
            evaluation_cost(role, owned=owned, examples=judged, **asked),
            validation_cost(role, owned=owned, passes=one.validations, **scored),
        ]

    @cached_property
    def _owned(self) -> tuple[int, ...]:
        """Parameters that an expert of each weak model trains."""
        of_experts = self.prepared.config.expert_training
        each = [(role, of_experts.resolved(role.config, has_optimum=True)) for role in self.prepared.pool]
        return tuple(n_trainable(role.builder(training)(torch.Generator())) for role, training in each)

    def label(
        self, seed: SeedContext, ensemble: Ensemble, voters: AnswerVoters | PoolVoters
    ) -> tuple[PseudoAnswers, Cost]:
        if isinstance(voters, PoolVoters):
            labels, spent = pool_labels(self.prepared, seed, voters, ensemble.expert_ids)
        else:
            labels = write_pseudo_answers(self.prepared, seed, voters, ensemble.expert_ids, is_teacher=True)
            spent = writing_cost(self.prepared, voters, seed.draw.hard_unlabelled, labels)
        labels, drawing = with_samples(self.prepared, seed, voters, labels)
        return labels, costs.total([spent, drawing])


def tokens_of(answers: AnswerTokens, rows: Tensor) -> tuple[int, int]:
    """Tokens that a model reads of these rows, and how many answer tokens they have."""
    return sum(len(answers.read[r]) for r in rows.tolist()), int(answers.offsets.diff()[rows].sum())


def evaluated_by(role: AnswerRole, state: dict[str, Tensor]) -> int:
    """Parameters of an expert that are its own in an evaluation; of one that is not trained those that it has copies
    of."""
    if state or role.config.adapter == "lora":
        return owned_by(state)
    return round(role.own_flops / 2.0)


def owned_by(state: dict[str, Tensor]) -> int:
    """Trained parameters."""
    return sum(t.numel() for t in state.values())
