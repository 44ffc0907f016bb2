"""Students that generate answers: what each learns, and how it is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import Recipe, TrainConfig, canonical_hash
from ensemw2s.core.seeds import stream
from ensemw2s.evaluation import costs
from ensemw2s.forms.costs import evaluation_cost, training_cost, trunk_cost, validation_cost
from ensemw2s.forms.generation.judging.best_of_n import best_of_n
from ensemw2s.forms.generation.judging.judges import SeedJudges, seed_judges
from ensemw2s.forms.generation.labelling.ballot import AnswerBallot
from ensemw2s.forms.generation.labelling.candidates import Candidates
from ensemw2s.forms.generation.labelling.labels import (
    PseudoAnswers,
    answering_cost,
    write_pseudo_answers,
    writing_cost,
    written_texts,
)
from ensemw2s.forms.generation.labelling.samples import with_samples
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.rivals import GivenAnswers, answer_rivals
from ensemw2s.forms.generation.scores import AnswerVoters, PoolVoters, Scorer
from ensemw2s.forms.generation.training_set import AnswerTrainingSet, LabelledAnswers
from ensemw2s.forms.prepared import Labels, SeedContext, Truth, rows_of
from ensemw2s.models.adapting.adapters import n_trainable, owned_state
from ensemw2s.models.adapting.merging import State, start_as_merge
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.results import Condition, Cost
from ensemw2s.results.conditions import SELF, ConditionKind
from ensemw2s.storage.store import Artifact
from ensemw2s.train.answers import AnswerSupervision, AnswerValidation, ended_by, train_answers
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.training_end import TrainingEnd


@dataclass(frozen=True)
class AnswerStudents:
    """Implements `forms.students.StudentForm`."""

    prepared: AnswerPrepared

    @property
    def training(self) -> TrainConfig:
        """Of every student: what writes is no linear head, and takes steps."""
        return self.prepared.config.training_of_students(has_optimum=False)

    @cached_property
    def easy(self) -> AnswerTokens:
        """The easy pool's true answers as the strong model's tokens."""
        return self.prepared.easy_answers(self.prepared.strong)

    @cached_property
    def easy_inputs(self) -> Inputs:
        """Their trunk activations."""
        return self.prepared.strong.open(self.easy.read)

    def zero_shot(self, seed: SeedContext) -> tuple[AnswerVoters, Cost]:
        """The untrained strong model; it costs what writing its answers, or scoring the options, costs."""
        prepared = self.prepared
        voters = AnswerVoters(prepared.strong, (), (), torch.ones(1))
        rows = torch.cat(list(rows_of(prepared, seed).values()))
        if prepared.by_choice:
            answers = prepared.strong.option_answers(rows, prepared.options(rows), prepared.names_of(rows))
            n_written = len(answers.targets)
            n_read = sum(map(len, answers.read)) - n_written
        else:
            n_written = sum(written_texts(prepared, seed, voters, part)[1] for part in rows_of(prepared, seed).values())
            n_read = sum(len(prepared.strong.prompts[row]) for row in rows.tolist())
        cost = answering_cost(voters, len(rows), n_read, n_written)
        return voters, cost.model_copy(update={"expert_evaluations": 0})

    def rivals(self, seed: SeedContext) -> Mapping[Condition, tuple[GivenAnswers, Cost]]:
        return answer_rivals(self.prepared, seed)

    def in_context(self, seed: SeedContext, labels: Mapping[str, Any]) -> Mapping[Condition, tuple[AnswerVoters, Cost]]:
        return {}  # refused with the settings

    def on_easy(
        self, seed: SeedContext, known: Labels | None = None, *, more: Labels | None = None
    ) -> AnswerTrainingSet:
        easy = self.labels(seed, known)
        if more is not None:
            easy = easy.and_all(self.labels(seed, more))
        ones = torch.ones(len(easy.answers.targets))
        supervision = AnswerSupervision(easy.answers, easy.learned, ones)
        validation = self.validation(seed) if known is None else None
        return AnswerTrainingSet(self.training, easy.inputs, supervision, validation)

    def labels(self, seed: SeedContext, known: Labels | None) -> LabelledAnswers:
        """The answers of `known`, all of them learned, or without that the easy pool's, of which the training examples
        are."""
        if known is None:
            return LabelledAnswers(self.easy, self.easy_inputs, torch.arange(len(self.easy.ids)), seed.draw.easy_train)
        role, texts = self.prepared.strong, [str(text) for text in known.truth]
        answers = role.answers(known.rows, texts, self.prepared.names_of(known.rows))
        return LabelledAnswers(answers, role.open(answers.read), known.rows, torch.arange(len(texts)))

    def on_truth(self, seed: SeedContext, truth: Truth) -> AnswerTrainingSet:
        role, hard = self.prepared.strong, seed.draw.hard_unlabelled
        given = role.answers(hard, [str(text) for text in truth], self.prepared.names_of(hard))
        supervision = AnswerSupervision(given, torch.arange(len(hard)), torch.ones(len(given.targets)))
        return AnswerTrainingSet(self.training, role.open(given.read), supervision, self.validation(seed))

    def validation(self, seed: SeedContext) -> AnswerValidation:
        """Easy validation data, with their true answers."""
        return AnswerValidation(self.easy_inputs, self.easy, seed.draw.easy_val)

    def self_labels(self, seed: SeedContext, voters: AnswerVoters) -> tuple[PseudoAnswers, Cost]:
        labels = write_pseudo_answers(self.prepared, seed, voters, ["strong_on_easy"], is_teacher=True)
        spent = writing_cost(self.prepared, voters, seed.draw.hard_unlabelled, labels)
        labels, drawing = with_samples(self.prepared, seed, voters, labels)
        return labels, costs.total([spent, drawing])

    def judges(self, seed: SeedContext, first: AnswerVoters | PoolVoters, on_easy: AnswerVoters) -> SeedJudges | None:
        return seed_judges(self.prepared, seed, first, on_easy)

    def best_of_n(
        self, seed: SeedContext, voters: AnswerVoters, judges: SeedJudges
    ) -> dict[ConditionKind, tuple[GivenAnswers, Cost]]:
        return best_of_n(self.prepared, seed, voters, judges)

    def ballot(
        self,
        seed: SeedContext,
        labels: Mapping[str, Any],
        teacher: str,
        recipe: Recipe,
        on_easy: AnswerVoters,
        judges: SeedJudges | None,
    ) -> AnswerBallot:
        # Beside students on the way, the strong model's own answer may need a column.
        n_later = recipe.make_label_model().n_students + recipe.make_selection().reads_own
        candidates = Candidates.of(labels[teacher], n_later, self.prepared.final)
        own, behind = labels[SELF], labels[teacher].mixtures
        return AnswerBallot(self, seed, teacher, candidates, on_easy, own, judges, behind)

    def deciding(self, training_set: AnswerTrainingSet) -> dict[str, Any]:
        supervision = training_set.supervision
        answers, rows, pace = supervision.answers, supervision.rows, supervision.pace
        return {
            "answers": canonical_hash([answers.ids[r] for r in rows.tolist()]),
            "weights": canonical_hash(supervision.weights[answers.tokens_of(rows)].tolist()),
            "pace": None if pace is None else canonical_hash(pace.deciding),
            **({} if supervision.soft is None else {"soft": supervision.soft.at(answers.tokens_of(rows)).digest}),
            **ended_by(training_set.validation, training_set.training),
        }

    def fit(
        self,
        training_set: AnswerTrainingSet,
        *,
        seed: int,
        checkpointer: Checkpointer | None,
        start: Sequence[State] = (),
    ) -> Artifact:
        training = training_set.training
        module = self.prepared.strong.builder(training)(stream(seed, "init"))
        if start:
            start_as_merge(module, start)
        end = train_answers(
            module,
            training_set.inputs,
            training_set.supervision,
            training,
            seed=seed,
            validation=training_set.validation,
            checkpointer=checkpointer,
        )
        state = {f"state/{n}": t for n, t in owned_state(module).items()}
        return Artifact(state, {"owned": n_trainable(module)} | end.record)

    def voters(self, training_set: AnswerTrainingSet, artifact: Artifact, key: str) -> AnswerVoters:
        return AnswerVoters.one(self.prepared.strong, key, artifact.state)

    def read_alike(self, training_set: AnswerTrainingSet, voters: AnswerVoters) -> AnswerTrainingSet:
        return training_set

    def cost(self, training_set: AnswerTrainingSet, artifact: Artifact) -> Cost:
        role, end = self.prepared.strong, TrainingEnd.of(artifact.record)
        epochs, owned = training_set.training.passes_of(end), artifact.record["owned"]
        answers, rows = training_set.supervision.answers, training_set.supervision.rows
        n_tokens = int(training_set.inputs.lengths[rows].sum())
        trained = training_cost(
            role,
            owned=owned,
            tokens=epochs * n_tokens,
            examples=epochs * len(rows),
            answer_tokens=epochs * len(answers.tokens_of(rows)),
        )
        parts = [trunk_cost(role, n_tokens), trained]
        if end is not None and end.validations:
            val = training_set.validation
            assert val is not None
            n_val, n_answer = int(val.inputs.lengths[val.rows].sum()), len(val.answers.tokens_of(val.rows))
            scored = {"owned": owned, "tokens": n_val, "examples": len(val.rows), "answer_tokens": n_answer}
            parts += [trunk_cost(role, n_val), validation_cost(role, passes=end.validations, **scored)]
        return costs.total(parts)

    def losses(self, seed: SeedContext, voters: AnswerVoters, known: Labels) -> tuple[Float[Tensor, " known"], Cost]:
        given = self.labels(seed, known)
        answers, n_tokens = given.answers, int(given.inputs.lengths.sum())
        owned, n_answer = sum(t.numel() for t in voters.states[0].values()), len(answers.targets)
        sizes = {"owned": owned, "tokens": n_tokens, "examples": len(answers.ids), "answer_tokens": n_answer}
        spent = [trunk_cost(voters.role, n_tokens), evaluation_cost(voters.role, **sizes)]
        return -self._per_token(seed, voters, answers, given.learned), costs.total(spent)

    def log_likelihood(self, seed: SeedContext, voters: AnswerVoters) -> Float[Tensor, " val"]:
        return self._per_token(seed, voters, self.easy, seed.draw.easy_val)

    def _per_token(
        self, seed: SeedContext, voters: AnswerVoters, answers: AnswerTokens, rows: Int[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        scores = Scorer(self.prepared, seed.store).scores(voters, answers, rows)
        return torch.stack([each.mean() for each in scores.gold[-1].split(scores.sizes.tolist())])
