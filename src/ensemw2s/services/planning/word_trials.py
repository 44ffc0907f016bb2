"""Trials of a model that answers in words."""

from functools import cached_property
from math import ceil

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.fit import EnsembleState, fit_expert
from ensemw2s.ensemble.words.decode import decode
from ensemw2s.ensemble.words.judges import AnswerPairs, Judge, judges_in_training
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.forms.generation.judging.judges import by_likelihood, by_principles, by_reward
from ensemw2s.forms.generation.judging.training import TRAINING
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.scores import AnswerVoters
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.models.inputs import PooledInputs
from ensemw2s.models.language import AnswerModel
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.services.planning.trials import N_ASKED, N_ROWS, RoleTrials, Trial
from ensemw2s.services.planning.units import RoleName, judge_readings, training_amount
from ensemw2s.train.answers import AnswerSupervision, train_answers


class AnswerTrials(RoleTrials):
    """Of a model whose answers are texts."""

    def __init__(self, prepared: AnswerPrepared, seed: SeedContext, name: RoleName):
        super().__init__(prepared, seed, name)
        self.prepared, self.role = prepared, prepared.roles[name]
        self.n_members = self.config.ensemble.n_rounds if name == "weak" else 1
        """Of those who answer together: a pool's members answer alone."""

    def read(self) -> Trial:
        role, read = self.role, self._answers.read
        return Trial(lambda: role.open(read), lambda: sum(map(len, read)))

    def train(self) -> Trial:
        training = self.training_by("train")
        inputs, n = self._inputs, min(len(self._rows), 2 * training.batch_size)
        supervision = AnswerSupervision(self._answers, torch.arange(n), torch.ones(len(self._answers.targets)))
        module, tokens = self.role.builder(training)(stream(0, "plan")), float(inputs.lengths[:n].sum())
        return Trial(
            lambda: train_answers(module, inputs, supervision, training, seed=0),
            lambda: training_amount(self.role.config.adapter, training, n, tokens),
        )

    def fit(self) -> Trial:
        """One of the judges: nothing else that answers in words is a linear head.

        The features are drawn, those of better answers a little apart: reading real ones takes longer than a fit.
        """
        settings, width = self.config.judges, self.role.backbone.hidden_size
        n, n_held = settings.n_negatives * min(len(self.draw.easy_train), N_ROWS), N_ROWS
        features = torch.randn(2, n + n_held, width, generator=stream(0, "plan"))
        features[0] += width**-0.5
        pairs = torch.arange(2 * (n + n_held)).view(2, -1)
        learned, held = (
            AnswerPairs(better, worse, [str(k) for k in better.tolist()])
            for better, worse in (pairs[:, :n], pairs[:, n:])
        )
        read = PooledInputs((features.flatten(0, 1),), torch.ones(pairs.numel(), dtype=torch.long))
        weak = judges_in_training(read, width, learned, held, TRAINING)
        state = EnsembleState.start(settings.method, 0, len(weak.rows))
        ensemble = self.config.ensemble.model_copy(update={"methods": (settings.method,)})
        return Trial(lambda: fit_expert(weak, state, ensemble), lambda: float(TRAINING.passes * len(weak.rows)))

    def score(self) -> Trial:
        models, inputs, answers = self._models(), self._inputs, self._answers
        places, ones = torch.arange(min(N_ROWS, len(self._rows))), torch.ones(self.n_members)
        return Trial(
            lambda: score_answers(models, inputs, answers, places, weights=ones),
            lambda: self.n_members * int(inputs.lengths[places].sum()),
        )

    def write(self) -> Trial:
        # Nothing is known of where an untrained model ends, so it writes exactly as much as the known answers.
        prepared, role, models = self.prepared, self.role, self._models()
        length = ceil(len(self._answers.targets) / len(self._answers.ids))
        decoding = prepared.decoding.model_copy(update={"max_new_tokens": length, "stop": ()})
        rows, ones, n_written = self._rows[:N_ROWS], torch.ones(self.n_members), [0]

        def write() -> None:
            decoded = role.write(models, ones, rows, decoding, prepared.names_of(rows), prepared.token_vote)
            n_written[0] = sum(len(d.tokens) + d.is_finished for d in decoded)

        return Trial(write, lambda: max(n_written[0], 1))

    def ask(self) -> Trial:
        """With the run's own rules of where to end."""
        prepared, rows, voters = self.prepared, self.draw.easy_val[:N_ASKED], self._untrained()
        prompts, names = [self.role.prompts[row] for row in rows.tolist()], prepared.names_of(rows)
        members, tokenizer = voters.members(), self.role.backbone.tokenizer  # what they read first is read once

        def ask() -> object:
            return decode(
                members,
                voters.weights,
                tokenizer,
                prompts,
                prepared.decoding,
                vote=prepared.token_vote,
                row_ids=names,
            )

        return Trial(ask, lambda: len(rows))

    def judge(self) -> Trial:
        rows, judge = self._rows[:N_ASKED], self._judge()
        prompts = [self.prepared.split.examples[row].prompt for row in rows.tolist()]
        truths = [self.prepared.split.easy_answers[row] for row in rows.tolist()]
        # Judges by principles compare each answer with the first one.
        answers = [[text, text] if self.config.judges.kind == "principles" else [text] for text in truths]
        n_tokens = sum(len(ids) for ids in self._answers.read[: len(rows)])
        return Trial(lambda: judge(prompts, answers), lambda: judge_readings(self.config.judges) * n_tokens)

    def _judge(self) -> Judge:
        """The run's own, that has learned nothing."""
        prepared, settings, one = self.prepared, self.config.judges, torch.ones(1)
        if settings.kind == "likelihood":
            return by_likelihood(prepared, self.seed, AnswerVoters(self.role, (), (), one)).judge
        if settings.kind == "principles":
            return by_principles(prepared, self.seed).judge
        directions = torch.zeros(settings.n_judges, self.role.backbone.hidden_size)
        return by_reward(prepared, self.seed, directions, NOTHING).judge

    def _untrained(self) -> AnswerVoters:
        """The pretrained model; the weak one as so many members, each behind a text of its own where they read any."""
        contexts = self.prepared.contexts.get(self.seed.seed) if self.name == "weak" else None
        prefixes = () if contexts is None else contexts.prefixes[: self.n_members]
        return AnswerVoters(self.role, (), ({},) * self.n_members, torch.ones(self.n_members), prefixes)

    @cached_property
    def _rows(self) -> Int[Tensor, " rows"]:
        n_learned = max(2 * training.batch_size for training in self.trainings)
        return self.draw.easy_train[: max(n_learned, N_ROWS)]

    @cached_property
    def _answers(self) -> AnswerTokens:
        """True ones."""
        texts = [self.prepared.split.easy_answers[row] for row in self._rows.tolist()]
        return self.role.answers(self._rows, texts, self.prepared.names_of(self._rows))

    @cached_property
    def _inputs(self) -> Inputs:
        return self.role.open(self._answers.read)

    def _models(self) -> list[AnswerModel]:
        """Members before their training."""
        build = self.role.builder(self.trainings[0])
        return [build(stream(0, "plan", t)).eval() for t in range(self.n_members)]
