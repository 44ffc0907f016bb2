"""The work of one seed, stage by stage: experts, labels, students. Each unit goes through the store."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ensemw2s.config import TrainConfig
from ensemw2s.ensemble.fit import EnsembleState, grow
from ensemw2s.ensemble.label import Ensemble
from ensemw2s.ensemble.methods import max_members, methods_of_several
from ensemw2s.ensemble.pool import follows_folds, next_expert
from ensemw2s.errors import DataError
from ensemw2s.evaluation import costs
from ensemw2s.forms.base import TaskForm
from ensemw2s.forms.merging import Merged
from ensemw2s.forms.prepared import Labels, Prepared, SeedContext
from ensemw2s.names import SINGLE
from ensemw2s.pipeline.prepare import form_of
from ensemw2s.pipeline.seeds.members import StoredMember
from ensemw2s.records import Expert
from ensemw2s.results import Condition, Cost
from ensemw2s.results.conditions import BEST_SINGLE, SINGLE_LONG, ensemble, merged
from ensemw2s.storage.store import Store
from ensemw2s.train.pairs import LessonEnd
from ensemw2s.training_end import TrainingEnd


@dataclass(frozen=True)
class SecondLesson:
    """What a student learned after its labels."""

    lesson: Any
    """In the form's own terms."""
    record: Mapping[str, Any] | None
    """Of its artifact; None where there was no pair, so nothing to learn."""

    @property
    def is_kept(self) -> bool:
        """Whether it made the student better."""
        return self.record is not None and LessonEnd.of(self.record).is_kept


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
    labels: tuple[str, ...] | None = None
    """Of a student of weak labels: what the label model made of the votes on each unlabelled example, before any of
    them is selected, or answered by people."""
    second: SecondLesson | None = None


@dataclass(frozen=True)
class Alone:
    """A weak model's expert on all easy examples alike."""

    outcome: Outcome
    accuracy: float
    """On easy-val."""


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
        self.alone: list[Alone] = []
        """Of each weak model of a pool; empty where there is one."""
        self.merged: dict[Condition, Merged] = {}
        self.labels: dict[str, Any] = {}
        """Of the unlabelled examples, by teacher, in the form's own terms."""
        self.judges: Any = None
        """Of answers, likewise; None where there are none."""
        self.chosen: Condition | None = None
        """What `auto` stands for."""
        settings = self.config.ensemble
        n_groups = len(prepared.split.groups[self.context.draw.easy_train].unique())
        by_folds = [m for m in settings.methods if follows_folds(m, settings, len(self.config.pool))]
        if (by_folds or settings.error_source == "folds") and n_groups < settings.n_folds:
            raise DataError(
                f"seed {seed}: ensemble.n_folds ({settings.n_folds}) exceeds the {n_groups} groups of the training "
                "examples; lower it, or raise split.n_easy_train"
            )

    @property
    def n_units(self) -> tuple[int, int]:
        """Upper bounds on the experts and on the students of this seed: for the progress bars."""
        ensemble = self.config.ensemble
        n_alone = len(self.config.pool) if len(self.config.pool) > 1 else 0
        n_merged = len(ensemble.merges) * len(methods_of_several(ensemble))
        students = self.config.students
        n_students = len(students.pairs(ensemble.methods)) + 2 + (students.augment is not None)
        return max_members(ensemble) + 1 + n_alone + n_merged, n_students

    def experts(self) -> Iterator[Expert | None]:
        """Train every method's ensemble, and the single experts to compare it with.

        Yields after each unit: the expert, where it is an ensemble's.
        """
        training = self.config.expert_training
        pool = self.members(training)
        prior = pool[0].trainer.prior_error()
        if len(pool) > 1:
            for place in range(len(pool)):
                self.alone.append(self._alone(pool, place, prior, training))
                yield None
        for method in self.config.ensemble.methods:
            yield from self.fit_ensemble(method, pool, prior)
        self._best_single()
        # One expert that is given the whole ensemble's training budget: of a pool, of the member that is best alone.
        best = max(range(len(self.alone)), key=lambda place: self.alone[place].accuracy, default=0)
        self.outcomes[SINGLE_LONG] = self._long(pool, best, prior)
        yield None
        yield from self._merge()

    def _long(self, pool: Sequence[StoredMember], place: int, prior: float) -> Outcome:
        """A training that patience ended before its bound ends there under any higher bound: it is not made again."""
        if pool[place].trainer.training.patience is not None:
            outcome = self._alone(pool, place, prior, self.config.expert_training).outcome
            if all(end is not None and end.ended == "stopped_early" for end in outcome.ends):
                return outcome
        long = self.config.long_training
        return self._alone(self.members(long), place, prior, long).outcome

    def members(self, training: TrainConfig) -> list[StoredMember]:
        """The weak models, trained so."""
        trainers = self.form.experts.trainers(self.context, training)
        return [StoredMember(trainer, self.context, self.config) for trainer in trainers]

    def _alone(self, pool: Sequence[StoredMember], place: int, prior: float, training: TrainConfig) -> "Alone":
        start, experts = EnsembleState.start(SINGLE, self.seed, pool[place].trainer.n_samples), self.form.experts
        key, fitted = pool[place].key(start), replace(pool[place].fit(start), member=place)
        (expert,) = grow(start, fitted, self.config.ensemble, prior).experts
        voters, cost = experts.expert_voters(self.context, expert, key), experts.cost(self.context, [expert], training)
        (accuracy,) = experts.member_accuracy(self.context, [expert], [key])
        return Alone(Outcome(voters, cost, ends=(expert.end,)), accuracy)

    def fit_ensemble(self, method: str, pool: Sequence[StoredMember], prior: float) -> Iterator[Expert | None]:
        """Train one method's ensemble round by round and choose its size on easy-val.

        Yields after each round: its expert, or None where it was no better than the prior, which ends the ensemble.
        """
        state = EnsembleState.start(method, self.seed, pool[0].trainer.n_samples)
        keys: list[str] = []
        while not state.finished:
            fitted = next_expert(pool, state, self.config.ensemble, lambda place, _: self.alone[place].accuracy)
            key, before = pool[fitted.member].key(state), len(state.experts)
            state = grow(state, fitted, self.config.ensemble, prior)
            keys += [key] * (len(state.experts) - before)
            yield state.experts[-1] if len(state.experts) > before else None
        selected, temperature, gate = self.form.experts.choose(self.context, state.experts, keys)
        made = Ensemble(
            method, self.seed, state.experts, selected, temperature, prior, self.config.ensemble, tuple(keys), gate
        )
        self.ensembles[method] = made
        self.outcomes[ensemble(method)] = Outcome(
            self.form.experts.ensemble_voters(self.context, made),
            self.form.experts.cost(self.context, state.experts, self.config.expert_training),
            n_experts=selected,
            ends=tuple(expert.end for expert in made.voting),
        )

    def _merge(self) -> Iterator[None]:
        """Make one model of the voting experts of each method that has several; yields after each."""
        settings = self.config.ensemble
        for method in methods_of_several(settings) if settings.merges else []:
            for name in settings.merges:
                made = self.form.experts.merge(self.context, self.ensembles[method], name)
                condition, ends = merged(method, name), self.outcomes[ensemble(method)].ends
                self.merged[condition] = made
                self.outcomes[condition] = Outcome(made.voters, made.cost, n_experts=1, key=made.key, ends=ends)
                yield

    def _best_single(self) -> None:
        """The member that is best on easy-val; choosing it cost the training of them all."""
        best: tuple[float, Ensemble, int] | None = None
        for made in self.ensembles.values():
            for place, accuracy in enumerate(self.form.experts.member_accuracy(self.context, made.experts, made.keys)):
                if best is None or accuracy > best[0]:
                    best = (accuracy, made, place)
        assert best is not None, "every run has an ensemble method"
        _, made, place = best
        voters = self.form.experts.expert_voters(self.context, made.experts[place], made.keys[place])
        spent = costs.total(each.cost for each in self.outcomes.values())
        self.outcomes[BEST_SINGLE] = Outcome(voters, spent, ends=(made.experts[place].end,))

    def label(self) -> Iterator[None]:
        """Let every ensemble label the unlabelled examples; yields after each."""
        for method, made in self.ensembles.items():
            outcome = self.outcomes[ensemble(method)]
            self.labels[method], spent = self.form.experts.label(self.context, made, outcome.voters)
            self.outcomes[ensemble(method)] = replace(outcome, cost=costs.total([outcome.cost, spent]))
            yield
