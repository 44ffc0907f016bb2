"""Students that generate answers: what each learns, and how it is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import Recipe, TrainConfig, canonical_hash
from ensemw2s.core.labels import Labelled, Votes
from ensemw2s.core.seeds import stream
from ensemw2s.core.selection import Evidence
from ensemw2s.data.people import people_among
from ensemw2s.errors import DataError
from ensemw2s.evaluation import costs
from ensemw2s.forms.base import Labels, SeedContext, Truth, rows_of
from ensemw2s.forms.costs import training_cost, trunk_cost, validation_cost
from ensemw2s.forms.generation.candidates import Candidates
from ensemw2s.forms.generation.labels import (
    PseudoAnswers,
    answering_cost,
    write_pseudo_answers,
    writing_cost,
    written_texts,
)
from ensemw2s.forms.generation.prepare import AnswerPrepared, join, joined_inputs
from ensemw2s.forms.generation.rivals import GivenAnswers, answer_rivals
from ensemw2s.forms.generation.scores import AnswerVoters, Scorer
from ensemw2s.forms.generation.training_set import AnswerTrainingSet, LabelledAnswers
from ensemw2s.models.adapters import n_trainable, owned_state
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.results import Condition, Cost
from ensemw2s.storage.store import Artifact
from ensemw2s.train.answers import AnswerSupervision, AnswerValidation, ended_by, train_answers
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.train.supervision import weights_and_pace
from ensemw2s.training_end import TrainingEnd


@dataclass(frozen=True)
class AnswerBallot:
    """Texts as columns of their own question."""

    students: "AnswerStudents"
    seed: SeedContext
    teacher: str
    candidates: Candidates
    checker: AnswerVoters
    """The strong model that learned the easy answers."""

    @property
    def votes(self) -> Votes:
        return self.candidates.votes

    def add(self, seed: SeedContext, voters: AnswerVoters) -> tuple[Float[Tensor, "items classes"], Cost]:
        prepared = self.students.prepared
        said = write_pseudo_answers(prepared, seed, voters, ["student"])
        cost = writing_cost(prepared, voters, seed.draw.hard_unlabelled, said)
        return self.candidates.add(said), cost

    def answered(self, labelled: Labelled) -> Labelled:
        # A question that nobody answered has nothing to be learned from, so no selection shall spend its share on it.
        answered = torch.tensor([bool(text) for text in self.candidates.chosen(labelled)])
        return labelled._replace(keep=labelled.keep & answered if bool(answered.any()) else labelled.keep)

    def evidence(self, *, reads_own: bool) -> Evidence:
        soft = self.votes.soft
        own = self._own() if reads_own else torch.zeros_like(soft)
        nothing = torch.zeros(0, soft.shape[1]), torch.zeros(0, dtype=torch.long)
        return Evidence(self.votes.member, own, *nothing, _no_features)

    def _own(self) -> Float[Tensor, "items classes"]:
        """Of each text, the probability per token that the strong model gives it that learned the easy answers."""
        prepared, texts = self.students.prepared, self.candidates.texts
        places = [(i, k) for i, each in enumerate(texts) for k, text in enumerate(each) if text]
        owner = torch.tensor([i for i, _ in places])
        rows = self.seed.draw.hard_unlabelled[owner]
        answers = self.checker.role.answers(rows, [texts[i][k] for i, k in places], prepared.names_of(rows))
        scores = Scorer(prepared, self.seed.store).scores(self.checker, answers, torch.arange(len(places)))
        means = torch.stack([part.double().mean() for part in scores.gold[-1].split(scores.sizes.tolist())])
        own = torch.zeros_like(self.votes.soft)
        own[owner, torch.tensor([k for _, k in places])] = means.exp().float()
        return own

    def training_set(
        self, labelled: Labelled, recipe: Recipe, *, on_the_way: bool = False, known: Labels | None = None
    ) -> AnswerTrainingSet:
        """What a recipe learns of the likeliest texts, and of the easy answers where it shall.

        Raises:
            DataError: nobody answered any of the questions that are kept.
        """
        prepared, hard = self.students.prepared, self.seed.draw.hard_unlabelled
        texts = list(self.candidates.chosen(labelled))
        labelled = self._with_people(texts, labelled)
        answered = torch.tensor([i for i, text in enumerate(texts) if text], dtype=torch.long)
        kept = labelled.keep[answered].nonzero()[:, 0]
        if not len(kept):
            raise DataError(
                f"seed {self.seed.seed}: {self.teacher}, {recipe.name}: none of the {int(labelled.keep.sum())} "
                "unlabelled questions that are kept has an answer; train the experts longer (expert_training), or look "
                "at generation.decoding.stop"
            )
        rows = hard[answered]
        given = prepared.strong.answers(rows, [texts[i] for i in answered], prepared.names_of(rows))
        easy = self.students.labels(self.seed, known)
        both, inputs = join(easy.answers, given), joined_inputs(easy.inputs, prepared.strong.open(given.read))
        learned = len(easy.answers.ids) + kept
        if recipe.with_easy:
            learned = torch.cat([easy.learned, learned])
        difficulty = prepared.split.difficulty
        of_each = torch.cat([difficulty[easy.rows], difficulty[rows]])
        of_rows, pace = weights_and_pace(recipe, labelled.soft.amax(-1)[answered][kept].float(), of_each[learned])
        weights = torch.ones(len(both.targets))
        weights[both.tokens_of(learned)] = of_rows.repeat_interleave(both.offsets.diff()[learned])
        supervision = AnswerSupervision(both, learned, weights, pace)
        validation = self.students.validation(self.seed) if known is None else None
        return AnswerTrainingSet(self.students.training, inputs, supervision, validation)

    def _with_people(self, texts: list[str], labelled: Labelled) -> Labelled:
        """Put people's answers in the place of pseudo-answers, as certain, so that no recipe drops one."""
        labelled = Labelled(labelled.soft.clone(), labelled.keep.clone())
        names = self.students.prepared.names_of(self.seed.draw.hard_unlabelled)
        for i, answer in people_among(self.students.prepared.people, names).items():
            texts[i], labelled.keep[i] = answer, True
            labelled.soft[i] = torch.zeros_like(labelled.soft[i])
            labelled.soft[i, 0] = 1.0
        return labelled


@dataclass(frozen=True)
class AnswerStudents:
    """Implements `forms.base.StudentForm`."""

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

    def on_easy(self, seed: SeedContext, known: Labels | None = None) -> AnswerTrainingSet:
        easy = self.labels(seed, known)
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
        labels = write_pseudo_answers(self.prepared, seed, voters, ["strong_on_easy"])
        return labels, writing_cost(self.prepared, voters, seed.draw.hard_unlabelled, labels)

    def ballot(
        self, seed: SeedContext, labels: Mapping[str, Any], teacher: str, recipe: Recipe, on_easy: AnswerVoters
    ) -> AnswerBallot:
        candidates = Candidates.of(labels[teacher], recipe.make_label_model().n_students)
        return AnswerBallot(self, seed, teacher, candidates, on_easy)

    def deciding(self, training_set: AnswerTrainingSet) -> dict[str, Any]:
        supervision = training_set.supervision
        answers, rows, pace = supervision.answers, supervision.rows, supervision.pace
        return {
            "answers": canonical_hash([answers.ids[r] for r in rows.tolist()]),
            "weights": canonical_hash(supervision.weights[answers.tokens_of(rows)].tolist()),
            "pace": None if pace is None else canonical_hash(pace.deciding),
            **ended_by(training_set.validation, training_set.training),
        }

    def fit(self, training_set: AnswerTrainingSet, *, seed: int, checkpointer: Checkpointer | None) -> Artifact:
        training = training_set.training
        module = self.prepared.strong.builder(training)(stream(seed, "init"))
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

    def log_likelihood(self, seed: SeedContext, voters: AnswerVoters) -> Float[Tensor, " val"]:
        scores = Scorer(self.prepared, seed.store).scores(voters, self.easy, seed.draw.easy_val)
        return torch.stack([each.mean() for each in scores.gold[-1].split(scores.sizes.tolist())])


def _no_features() -> tuple[Tensor, Tensor]:
    raise NotImplementedError("no selection that judges texts reads features")
