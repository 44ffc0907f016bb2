"""The units of work of a prepared run, counted before anything is computed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from ensemw2s.config import TrainConfig
from ensemw2s.forms.costs import evaluation_cost, training_cost, trunk_cost, validation_cost
from ensemw2s.forms.prepared import Prepared
from ensemw2s.forms.role import Role
from ensemw2s.services.planning.units import (
    RoleName,
    Stage,
    Unit,
    expert_views,
    fold_trainings,
    merged_models,
    pool_trainings,
    student_sizes,
    students_on_the_way,
    training_amount,
    training_verb,
    voters,
)


@dataclass(frozen=True)
class Amounts:
    """What one example amounts to for one of the models, on average."""

    read: float
    """Tokens that are read: of the prompt, or of a question with its answer."""
    owned: int
    """Trained parameters."""
    answer: float = 0.0
    """Tokens that go through the vocabulary head."""
    options: float = 1.0
    """Options that are scored per question; 1 where answers are written."""


class Counts(ABC):
    """What classes and generation count alike.

    Args:
        prepared: the experiment; nothing has been computed of its trunks.
        amounts: of an example, by role.
    """

    def __init__(self, prepared: Prepared, amounts: dict[str, Amounts]):
        self.prepared, self.config, self.amounts = prepared, prepared.config, amounts
        split = prepared.split
        draw = split.draw(self.config.seeds[0])
        self.n_seeds, self.n_all = len(self.config.seeds), len(split.examples)
        self.n_easy, self.n_hard, self.n_val = len(draw.easy_train), len(draw.hard_unlabelled), len(draw.easy_val)
        self.n_tests = sum(len(split.pools[part]) for part in split.tests)

    context_tokens: float = 0.0
    """Tokens that members read before each question, on average, where they do."""

    @property
    @abstractmethod
    def n_evaluated(self) -> int:
        """Number of examples on which each expert is evaluated."""

    @property
    def n_asked(self) -> int:
        """Number of members of all seeds that are asked without training."""
        return 0

    @abstractmethod
    def reading(self) -> list[Unit]:
        """Passes of the trunks before the experts are trained."""

    @abstractmethod
    def reading_of_tests(self) -> list[Unit]:
        """The same passes over the tests alone, with questions that are worded otherwise."""

    @abstractmethod
    def reading_of_copies(self, n: int) -> list[Unit]:
        """Passes over so many perturbed copies of a seed's training examples."""

    @abstractmethod
    def labelling(self) -> list[Unit]:
        """What follows the experts' training until the strong model is trained."""

    @abstractmethod
    def evaluating(self, n_students: int) -> list[Unit]:
        """What is scored once all are trained. `n_students`: trainings of the strong model in all seeds."""

    @abstractmethod
    def student_bytes(self) -> int:
        """Bytes that a student leaves in the store."""

    @abstractmethod
    def on_the_way(self, count: int) -> list[Unit]:
        """What the students that label models ask cost beside their training."""

    @abstractmethod
    def second_lessons(self) -> list[Unit]:
        """What students learn after their labels."""

    def units(self) -> list[Unit]:
        """Every unit of the run, in its order."""
        experts, students = self._experts(), self._students()
        students += self.second_lessons()
        n_students = sum(unit.count for unit in students if unit.verb in ("train", "fit"))
        units = [*self.reading(), *experts, *self.labelling(), *students, *self.evaluating(n_students)]
        units += [*self._perturbed(n_students), *self._refit()]
        return [unit for unit in units if unit.count and unit.amount]

    def _experts(self) -> list[Unit]:
        config, ensemble, n = self.config, self.config.ensemble, self.n_seeds
        units: list[Unit] = []
        if "weak" not in self.prepared.roles:
            return self._pool_experts()
        training = config.training_of_experts
        long = config.long_training.resolved(self.role("weak").config, has_optimum=True)
        n_layers = self.role("weak").trunk.n_layers
        for (share, is_behind), count in sorted(expert_views(ensemble, n_layers, config.seeds).items(), reverse=True):
            what = "an expert" if share == 1 else f"an expert on {share:g} of the features"
            what, before = ("an expert behind a context", self.context_tokens) if is_behind else (what, 0.0)
            units.append(
                self.trained("experts", what, "weak", training, self.n_easy, count, share=share, before=before)
            )
        units.append(self.trained("experts", "an expert at T times the budget", "weak", long, self.n_easy, n))
        if count := n * fold_trainings(ensemble):
            n_fold = round(self.n_easy * (1 - 1 / ensemble.n_folds))
            units.append(self.trained("experts", "its like on folds", "weak", training, n_fold, count, kept=0))
        return units

    def _pool_experts(self) -> list[Unit]:
        n, n_folds = self.n_seeds, self.config.ensemble.n_folds
        trainings = {name: self.config.training_of(model) for name, model in self.config.models}
        taken, counted = self.taken_of_pool(), pool_trainings(self.config.ensemble, len(self.config.pool))
        if not taken:
            return []
        units = [self._expert(name, count) for name, count in taken.items()]
        costliest = max(taken, key=lambda name: self._expert(name, 1).flops)
        own = {name: place for place, name in enumerate(self.weak_names) if name in taken}
        what = "an expert at T times the budget"
        long = self.config.long_training.resolved(self.role(costliest).config, has_optimum=True)
        units.append(self.trained("experts", what, costliest, long, self.n_easy, n))
        n_fold = round(self.n_easy * (1 - 1 / n_folds))
        return units + [
            self.trained(
                "experts", "its like on folds", name, trainings[name], n_fold, n * counted.folds[place], kept=0
            )
            for name, place in own.items()
        ]

    def _expert(self, name: RoleName, count: int) -> Unit:
        training = self.config.training_of(dict(self.config.models)[name])
        return self.trained("experts", "an expert", name, training, self.n_easy, count)

    @property
    def weak_names(self) -> list[RoleName]:
        """The weak models, pretrained or not."""
        return [name for name, _ in self.config.models if name != "strong"]

    def taken_of_pool(self) -> dict[RoleName, int]:
        """Upper bounds on the experts of a pool's pretrained members, of all seeds; those that boosting chooses are
        counted as the costliest."""
        counted = pool_trainings(self.config.ensemble, len(self.config.pool))
        own = {name: place for place, name in enumerate(self.weak_names) if name in self.prepared.roles}
        costliest = max(own, key=lambda name: self._expert(name, 1).flops, default=None)
        return {
            name: self.n_seeds * (counted.experts[place] + (counted.chosen if name == costliest else 0))
            for name, place in own.items()
        }

    def _students(self) -> list[Unit]:
        config, n = self.config, self.n_seeds
        training = config.training_of_students(has_optimum=True)
        kept = self.student_bytes()
        units = [self.trained("students", "strong on easy", "strong", training, self.n_easy, n, kept=kept)]
        units += self._augmented(training)
        if "hard_pool" in self.prepared.split.sealed:
            units.append(self.trained("students", "the ceiling", "strong", training, self.n_hard, n, kept=kept))
        for (size, has_optimum), each in student_sizes(config, self.n_easy, self.n_hard).items():
            learned = config.training_of_students(has_optimum=has_optimum)
            what = f"a student of {size}"
            units.append(self.trained("students", what, "strong", learned, size, each * n, kept=kept))
        if count := students_on_the_way(config) * n:
            what = "a label model's student"
            units.append(self.trained("students", what, "strong", training, self.n_hard, count, kept=kept))
            units += self.on_the_way(count)
        return units

    def _augmented(self, training: TrainConfig) -> list[Unit]:
        """The perturbed copies, read and scored, and the training with some of them; at most, as `_perturbed`."""
        if (augment := self.config.students.augment) is None:
            return []
        n, n_copies = self.n_seeds, len(augment.perturb) * self.n_easy
        n_learned = self.n_easy + len(augment.perturb) * max(1, round(augment.share * self.n_easy))
        what, kept = "strong on easy, augmented", self.student_bytes()
        return [
            *(replace(unit, stage="students", count=n * unit.count) for unit in self.reading_of_copies(n_copies)),
            self.scored("students", "losses on perturbed copies", "strong", n_copies, n),
            self.trained("students", what, "strong", training, n_learned, n, kept=kept),
        ]

    def _perturbed(self, n_students: int) -> list[Unit]:
        """The tests asked once more under each perturbation; at most, for some leave questions as they are."""
        if not (n := len(self.prepared.perturbed)):
            return []
        n_experts = self.n_seeds * self.n_voters
        asked = [("an expert's answers to perturbed tests", name, n_experts) for name in self.prepared.roles]
        asked = [each for each in asked if each[1] != "strong"]
        asked.append(("a student's answers to perturbed tests", "strong", n_students))
        n_rows = (n_students + n_experts) // self.n_seeds
        n_intervals = 4 * n * len(self.prepared.split.tests) * n_rows
        return [
            *(replace(unit, stage="evaluate", count=n * unit.count) for unit in self.reading_of_tests()),
            *(self.scored("evaluate", what, name, self.n_tests, n * count) for what, name, count in asked),
            Unit("evaluate", "intervals of perturbed tests", "interval", "both", n_intervals, 1.0),
        ]

    def _refit(self) -> list[Unit]:
        """The exported student's last training, on at most all labels and the unlabelled examples of one seed."""
        if not self.config.deliver.refit:
            return []
        n = sum(len(self.prepared.split.pools[part]) for part in ("easy_pool", "id_test"))
        with_easy = [recipe for recipe in self.config.students.recipes if recipe.with_easy]
        n += self.n_hard if with_easy else 0
        training = self.config.training_of_students(has_optimum=all(recipe.has_optimum for recipe in with_easy))
        kept = 4 * self.amounts["strong"].owned
        return [self.trained("evaluate", "the exported student, once more", "strong", training, n, 1, kept=kept)]

    def role(self, name: RoleName) -> Role:
        """The weak or the strong model."""
        return self.prepared.roles[name]

    def trained(
        self,
        stage: Stage,
        what: str,
        name: RoleName,
        training: TrainConfig,
        n: int,
        count: int,
        *,
        kept: int | None = None,
        share: float | int = 1.0,
        before: float = 0.0,
    ) -> Unit:
        """Trainings on `n` examples, with `patience` of all their epochs.

        Args:
            share: of the pooled feature's dimensions, that is read.
            before: tokens that are read before each example.
        """
        role, amounts = self.role(name), self.amounts[name]
        width = role.trunk.feature_size
        unread = (width - max(1, round(share * width))) * (role.config.head_hidden or len(self.prepared.task.choices))
        tokens, owned = n * (amounts.read + before), amounts.owned - unread
        spent = training_cost(
            role,
            owned=owned,
            tokens=round(training.readings * tokens),
            examples=training.passes * n,
            answer_tokens=training.passes * n * amounts.answer,
        )
        validated = validation_cost(
            role,
            owned=owned,
            passes=0 if training.patience is None else training.epochs,
            tokens=self.n_val * amounts.read,
            examples=self.n_val,
            answer_tokens=self.n_val * amounts.answer,
        )
        amount, flops = training_amount(role.config.adapter, training, n, tokens), spent.flops + validated.flops
        stored = self.expert_bytes(name) if kept is None else kept
        verb = training_verb(training)
        return Unit(stage, what, verb, name, count, amount, int(spent.training_tokens), flops, stored)

    def scored(self, stage: Stage, what: str, name: RoleName, n: int, count: int) -> Unit:
        """Evaluations of `n` examples."""
        role, amounts = self.role(name), self.amounts[name]
        tokens = n * amounts.read * amounts.options
        answers = n * amounts.answer * amounts.options
        spent = evaluation_cost(role, owned=amounts.owned, tokens=tokens, examples=n, answer_tokens=answers)
        return Unit(stage, what, "score", name, count, tokens, round(tokens), spent.flops)

    def read(self, stage: Stage, what: str, name: RoleName, n: int, count: int, kept_vectors: int | float) -> Unit:
        """Passes of the trunk over `n` examples, of which so many vectors are kept."""
        role = self.role(name)
        tokens = round(n * self.amounts[name].read)
        width = role.trunk.feature_size if role.config.adapter == "head" else role.backbone.hidden_size
        kept = round(kept_vectors) * width * role.trunk.dtype.itemsize
        return Unit(stage, what, "read", name, count, tokens, tokens, trunk_cost(role, tokens).flops, kept)

    def expert_bytes(self, name: RoleName) -> int:
        """Bytes that an expert of this model leaves in the store."""
        return 4 * self.amounts[name].owned

    @property
    def n_merged(self) -> int:
        """Models of all seeds that are merged from experts."""
        return self.n_seeds * merged_models(self.config.ensemble)

    def merged_bytes(self) -> int:
        """Bytes that a merged model leaves in the store; low-rank updates have the rank of all of them."""
        is_low_rank = self.role("weak").config.adapter == "lora"
        return self.expert_bytes("weak") * (self.config.ensemble.n_rounds if is_low_rank else 1)

    @property
    def n_voters(self) -> int:
        """Upper bound on the number of experts in all ensembles of one seed."""
        return voters(self.config.ensemble)
