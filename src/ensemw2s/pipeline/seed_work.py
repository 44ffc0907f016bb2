"""The work of one seed, stage by stage: experts, labels, students. Each unit goes through the store."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ensemw2s.config import canonical_hash
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Spent, grow
from ensemw2s.ensemble.label import Ensemble
from ensemw2s.ensemble.methods import make_method, max_members
from ensemw2s.errors import DataError
from ensemw2s.evaluation import costs
from ensemw2s.forms.base import ExpertTrainer, Labels, Prepared, SeedContext, TaskForm
from ensemw2s.names import SINGLE
from ensemw2s.pipeline.prepare import form_of
from ensemw2s.results import Condition, Cost
from ensemw2s.results.conditions import BEST_SINGLE, SINGLE_LONG, ensemble
from ensemw2s.storage.store import Artifact, Store, artifact_key
from ensemw2s.training_end import TrainingEnd

EXPERT_VERSION = 5


@dataclass(frozen=True)
class Outcome:
    """What came out under one condition."""

    voters: Any
    """Who answers, in the form's own terms."""
    cost: Cost
    n_experts: int | None = None
    """T, for ensembles and their students."""
    key: str | None = None
    """Of a trained student, in the store."""
    record: Mapping[str, Any] | None = None
    """Of that artifact."""
    training_on: Callable[[Labels | None], Any] | None = None
    """Of a student that learns true labels: its training set with these in the place of the easy training examples;
    None gives the one that it was trained on."""
    ends: tuple[TrainingEnd | None, ...] = ()
    """How the trainings of those who answer ended, and of students on the way to its labels; None where an old store
    does not say."""


class SeedWork:
    """One seed's share of a run.

    Args:
        prepared: the validated experiment.
        store: where every unit of work is found or kept.
        seed: of this share.

    Raises:
        DataError: there are fewer groups of training examples than held-out folds.
    """

    def __init__(self, prepared: Prepared, store: Store, seed: int):
        self.prepared, self.config, self.seed = prepared, prepared.config, seed
        self.form: TaskForm = form_of(prepared)
        self.context = SeedContext(seed, prepared.split.draw(seed), store)
        self.outcomes: dict[Condition, Outcome] = {}
        self.ensembles: dict[str, Ensemble] = {}
        """By method."""
        self.labels: dict[str, Any] = {}
        """Of the unlabelled examples, by teacher, in the form's own terms."""
        self.chosen: Condition | None = None
        """What `auto` stands for."""
        settings = self.config.ensemble
        n_groups = len(prepared.split.groups[self.context.draw.easy_train].unique())
        if settings.error_source == "folds" and n_groups < settings.n_folds:
            raise DataError(
                f"seed {seed}: ensemble.n_folds ({settings.n_folds}) exceeds the {n_groups} groups of the training "
                "examples; lower it, or raise split.n_easy_train"
            )

    @property
    def n_units(self) -> tuple[int, int]:
        """Upper bounds on the experts and on the students of this seed: for the progress bars."""
        return max_members(self.config.ensemble) + 1, len(self.config.students.pairs(self.config.ensemble.methods)) + 2

    def experts(self) -> Iterator[None]:
        """Train every method's ensemble, and the single experts to compare it with; yields after each unit."""
        training = self.config.training_of_experts
        trainer = self.form.experts.trainer(self.context, training)
        prior = trainer.prior_error()
        for method in self.config.ensemble.methods:
            yield from self.fit_ensemble(method, trainer, prior)
        self._best_single()
        # One expert that is given the whole ensemble's training budget.
        long = training.model_copy(update={"epochs": training.epochs * self.config.ensemble.n_rounds})
        trainer = self.form.experts.trainer(self.context, long)
        state = EnsembleState.start(SINGLE, self.seed, trainer.n_samples)
        key, fitted = self._expert(trainer, state)
        expert = grow(state, fitted, self.config.ensemble, prior).experts[0]
        self.outcomes[SINGLE_LONG] = Outcome(
            self.form.experts.expert_voters(self.context, expert, key),
            self.form.experts.cost(self.context, [expert], long),
            ends=(expert.end,),
        )
        yield

    def fit_ensemble(self, method: str, trainer: ExpertTrainer, prior: float) -> Iterator[None]:
        """Train one method's ensemble round by round and choose its size on easy-val; yields after each round."""
        state = EnsembleState.start(method, self.seed, trainer.n_samples)
        keys: list[str] = []
        while not state.finished:
            key, fitted = self._expert(trainer, state)
            before = len(state.experts)
            state = grow(state, fitted, self.config.ensemble, prior)
            keys += [key] * (len(state.experts) - before)
            yield
        selected, temperature = self.form.experts.choose(self.context, state.experts, keys)
        made = Ensemble(
            method, self.seed, state.experts, selected, temperature, prior, self.config.ensemble, tuple(keys)
        )
        self.ensembles[method] = made
        self.outcomes[ensemble(method)] = Outcome(
            self.form.experts.ensemble_voters(self.context, made),
            self.form.experts.cost(self.context, state.experts, trainer.training),
            n_experts=selected,
            ends=tuple(expert.end for expert in made.voting),
        )

    def _best_single(self) -> None:
        """The member that is best on easy-val; choosing it cost the training of them all."""
        best: tuple[float, Ensemble, int] | None = None
        for made in self.ensembles.values():
            for place, accuracy in enumerate(self.form.experts.member_accuracy(self.context, made)):
                if best is None or accuracy > best[0]:
                    best = (accuracy, made, place)
        assert best is not None, "every run has an ensemble method"
        _, made, place = best
        voters = self.form.experts.expert_voters(self.context, made.experts[place], made.keys[place])
        spent = costs.total(each.cost for each in self.outcomes.values())
        self.outcomes[BEST_SINGLE] = Outcome(voters, spent, ends=(made.experts[place].end,))

    def _expert(self, trainer: ExpertTrainer, state: EnsembleState) -> tuple[str, FittedExpert]:
        """One expert, from the store or trained; the key holds all that decides it and nothing else."""
        config, draw = self.config.ensemble, trainer.draw(state)
        key = artifact_key(
            EXPERT_VERSION,
            {
                **trainer.deciding(state, draw),
                "training": trainer.training.deciding,
                "stream": state.next_stream,
                "draw": canonical_hash(draw.rows.tolist()),
                "weights": None if draw.is_even else canonical_hash(draw.weights.tolist()),
            },
        )
        artifact = self.context.memo("experts", key, lambda: trainer.fit(state))
        fitted = trainer.fitted(artifact, state)
        by_folds = config.error_source == "folds"
        needs_errors = make_method(state.method, config, self.config.generation).needs_errors
        if not needs_errors or not (by_folds or trainer.judges_apart):
            return key, fitted
        weights = canonical_hash(state.sample_weights.tolist())
        deciding = {"expert": key, "folds": config.n_folds if by_folds else None, "weights": weights}
        deciding |= trainer.judging()

        def judge() -> Artifact:
            is_wrong, spent = trainer.errors(fitted, state, by_folds=by_folds)
            return Artifact({"is_wrong": is_wrong}, spent.record)

        judged = self.context.memo("errors", artifact_key(EXPERT_VERSION, deciding), judge)
        spent = fitted.spent + Spent.of(judged.record)
        return key, replace(fitted, is_wrong=judged.tensors["is_wrong"], spent=spent)

    def label(self) -> Iterator[None]:
        """Let every ensemble label the unlabelled examples; yields after each."""
        for method, made in self.ensembles.items():
            outcome = self.outcomes[ensemble(method)]
            self.labels[method], spent = self.form.experts.label(self.context, made, outcome.voters)
            self.outcomes[ensemble(method)] = replace(outcome, cost=costs.total([outcome.cost, spent]))
            yield
