"""The units of work of a run whose questions are answered in words."""

from dataclasses import dataclass

import torch

from ensemw2s.config import TrainConfig
from ensemw2s.forms.generation.prepare import AnswerPrepared, AnswerSide
from ensemw2s.models.adapters import owned_state
from ensemw2s.models.upper import own_layers
from ensemw2s.pipeline.generation.cost import training_cost
from ensemw2s.services.planning.units import (
    Stage,
    Unit,
    WhichSide,
    expert_trainings,
    fold_trainings,
    student_sizes,
    students_on_the_way,
    training_amount,
    voters,
)


@dataclass(frozen=True)
class Sizes:
    """Means over the easy pool, which stand for all answers: the others are sealed or not written yet."""

    read: float
    """Tokens of a question with its answer."""
    answer: float
    """Tokens of an answer, the end token among them."""
    options: float
    """Options per question; 1 where answers are written."""


class Answers:
    """Counts of one prepared experiment; nothing has been computed of its trunk."""

    def __init__(self, prepared: AnswerPrepared):
        self.prepared, self.config = prepared, prepared.config
        split = prepared.split
        self.n_seeds = len(self.config.seeds)
        draw = split.draw(self.config.seeds[0])
        self.n_easy, self.n_hard, self.n_val = len(draw.easy_train), len(draw.hard_unlabelled), len(draw.easy_val)
        self.n_pool = len(split.pools["easy_pool"])
        self.n_tests = sum(len(split.pools[part]) for part in split.tests)
        rows = torch.arange(len(split.easy_labels))
        by_choice = self.config.generation.answer_by == "choices"
        self.sizes: dict[str, Sizes] = {}
        self.owned: dict[str, int] = {}
        for name, training in (("weak", self.config.expert_training), ("strong", self.config.student_training)):
            side: AnswerSide = getattr(prepared, name)
            answers = side.answers(rows, prepared.easy_texts, prepared.names[: len(rows)])
            options = [len(each) for each in prepared.options(rows)] if by_choice else [1]
            self.sizes[name] = Sizes(
                sum(len(ids) for ids in answers.read) / len(answers.ids),
                len(answers.targets) / len(answers.ids),
                sum(options) / len(options),
            )
            self.owned[name] = sum(t.numel() for t in owned_state(side.builder(training)(torch.Generator())).values())

    @property
    def n_evaluated(self) -> int:
        """Examples that each expert is evaluated on, once."""
        return self.n_val + self.n_tests

    def mean_length(self, name: str) -> float:
        """Tokens of a question with its answer."""
        return self.sizes[name].read

    def units(self) -> list[Unit]:
        """Every unit of the run, in its order."""
        config, n_methods = self.config, len(self.config.ensemble.methods)
        ensemble, training = config.ensemble, config.expert_training
        long = training.model_copy(update={"epochs": training.epochs * ensemble.n_rounds})
        n, n_voters = self.n_seeds, voters(ensemble)
        found = [
            self._read("prepare", "the trunk reads the easy answers", "weak", self.n_pool, 1),
            self._trained("experts", "an expert", "weak", training, self.n_easy, expert_trainings(ensemble) * n),
            self._trained("experts", "an expert at T times the budget", "weak", long, self.n_easy, n),
        ]
        if count := fold_trainings(ensemble) * n:
            share = 1 - 1 / ensemble.n_folds
            found.append(
                self._trained(
                    "experts", "its like on folds", "weak", training, round(share * self.n_easy), count, kept=0
                )
            )
        # Every size of an ensemble is scored from one pass of each member, once with all and once with the chosen.
        found += [
            self._scored("experts", "an expert's answers on easy-val", "weak", self.n_val, n_voters * n),
            self._written("labels", "an ensemble's pseudo-answers", "weak", self.n_hard, n_methods * n),
            self._written("students", "the strong model's own pseudo-answers", "strong", self.n_hard, n),
            self._read("students", "the trunk reads the easy answers", "strong", self.n_pool, 1),
            self._read("students", "the trunk reads pseudo-answers", "strong", self.n_hard, (2 + n_methods) * n),
            self._trained("students", "strong on easy", "strong", config.student_training, self.n_easy, n),
        ]
        if "hard_pool" in self.prepared.split.sealed:
            found.append(self._trained("students", "the ceiling", "strong", config.student_training, self.n_hard, n))
        for size, each in student_sizes(config, self.n_easy, self.n_hard).items():
            what = f"a student of {size}"
            found.append(self._trained("students", what, "strong", config.student_training, size, each * n))
        if count := students_on_the_way(config) * n:
            what = "a label model's student"
            found += [
                self._trained("students", what, "strong", config.student_training, self.n_hard, count),
                self._written("students", "a label model's student's answers", "strong", self.n_hard, count),
                self._read("students", "the trunk reads these answers", "strong", self.n_hard, count),
            ]
        n_students = sum(unit.count for unit in found if unit.verb == "train" and unit.side == "strong")
        n_seen = self.n_tests + self.n_val
        found += [
            self._read("evaluate", "the trunk reads the tests' answers", "weak", self.n_tests, 1),
            self._read("evaluate", "the trunk reads the tests' answers", "strong", self.n_tests, 1),
            self._scored("evaluate", "a member's answers to the tests", "weak", n_seen, (n_voters + 2) * n),
            self._scored("evaluate", "a student's answers to the tests", "strong", n_seen, n_students),
            Unit("evaluate", "intervals", "interval", "both", 4 * n_students // n, 1.0),
        ]
        if config.generation.answer_by == "decode":
            found.append(self._written("evaluate", "zero-shot answers", "strong", self.n_tests + n * self.n_val, 1))
        return [unit for unit in found if unit.count and unit.amount]

    def _side(self, name: str) -> AnswerSide:
        return getattr(self.prepared, name)

    def _read(self, stage: Stage, what: str, name: WhichSide, n: int, count: int) -> Unit:
        side = self._side(name)
        if side.flops_per_token == 0.0:
            return Unit(stage, what, "read", name, 0, 0.0)
        tokens = round(n * self.sizes[name].read)
        kept = tokens * side.backbone.hidden_size * side.backbone.dtype.itemsize
        return Unit(stage, what, "read", name, count, tokens, tokens, side.flops_per_token * tokens, kept)

    def _trained(
        self,
        stage: Stage,
        what: str,
        name: WhichSide,
        training: TrainConfig,
        n: int,
        count: int,
        kept: int | None = None,
    ) -> Unit:
        side, sizes = self._side(name), self.sizes[name]
        tokens = n * sizes.read
        state = {"owned": torch.empty(self.owned[name], device="meta")}
        spent = training_cost(side, state, round(training.epochs * tokens), round(training.epochs * n * sizes.answer))
        amount = training_amount(side.config.adapter, training, n, tokens)
        bytes_ = 4 * self.owned[name] if kept is None else kept
        return Unit(stage, what, "train", name, count, amount, int(spent.training_tokens), spent.flops, bytes_)

    def _scored(self, stage: Stage, what: str, name: WhichSide, n: int, count: int) -> Unit:
        side, sizes = self._side(name), self.sizes[name]
        tokens = n * sizes.read * sizes.options
        state = {"owned": torch.empty(self.owned[name], device="meta")}
        flops = training_cost(side, state, round(tokens), round(n * sizes.answer * sizes.options)).flops / 3
        return Unit(stage, what, "score", name, count, tokens, round(tokens), flops)

    def _written(self, stage: Stage, what: str, name: WhichSide, n: int, count: int) -> Unit:
        if self.config.generation.answer_by == "choices":
            members = self.config.ensemble.n_rounds if name == "weak" else 1
            return self._scored(stage, what, name, n * members, count)
        side, sizes = self._side(name), self.sizes[name]
        is_zero_shot = what.startswith("zero-shot")  # an untrained model does not know where to end
        length = self.prepared.decoding.max_new_tokens if is_zero_shot else sizes.answer
        written = n * length
        members = self.config.ensemble.n_rounds if name == "weak" else 1
        n_own = own_layers(side.config, side.backbone)
        own = n_own / max(1, side.backbone.n_layers - n_own)
        per_token = side.flops_per_token * (1 + members * own) + 2.0 * members * side.unembedding.n_weights
        verb, amount = ("ask", n) if is_zero_shot else ("write", written)
        return Unit(stage, what, verb, name, count, amount, round(n * sizes.read), per_token * written)
