"""The units of work of a run whose questions are answered by a class."""

import torch

from ensemw2s.config import TrainConfig
from ensemw2s.ensemble.methods import depths_of
from ensemw2s.forms.classification.side import Side
from ensemw2s.models.activations import EmbeddedInputs, IdInputs, activation_bytes
from ensemw2s.models.adapters import n_trainable
from ensemw2s.pipeline import cost
from ensemw2s.pipeline.prepare import Prepared
from ensemw2s.services.planning.units import (
    Stage,
    Unit,
    WhichSide,
    expert_shares,
    fold_trainings,
    student_sizes,
    students_on_the_way,
    training_amount,
)


class Classes:
    """Counts of one prepared experiment; nothing has been computed of its trunk."""

    def __init__(self, prepared: Prepared):
        self.prepared, self.config = prepared, prepared.config
        split = prepared.split
        self.n_seeds, self.n_all = len(self.config.seeds), len(split.examples)
        draw = split.draw(self.config.seeds[0])
        self.n_easy, self.n_hard, self.n_val = len(draw.easy_train), len(draw.hard_unlabelled), len(draw.easy_val)
        self.n_tests = sum(len(split.pools[part]) for part in split.tests)
        self.lengths = {
            "weak": prepared.weak.inputs.lengths.double(),
            "strong": prepared.strong.inputs.lengths.double(),
        }
        generator = torch.Generator()
        self.owned = {
            "weak": n_trainable(prepared.weak.builder(self.config.expert_training, prepared.n_classes)(generator)),
            "strong": n_trainable(prepared.strong.builder(self.config.student_training, prepared.n_classes)(generator)),
        }

    @property
    def n_evaluated(self) -> int:
        """Examples that each expert is evaluated on, once."""
        return self.n_all

    def mean_length(self, name: str) -> float:
        """Tokens of an example."""
        return float(self.lengths[name].mean())

    def units(self) -> list[Unit]:
        """Every unit of the run, in its order."""
        config, n_methods = self.config, len(self.config.ensemble.methods)
        training = config.expert_training
        long = training.model_copy(update={"epochs": training.epochs * config.ensemble.n_rounds})
        weak, strong = self.prepared.weak, self.prepared.strong
        shares = expert_shares(config.ensemble, weak.backbone.n_layers, config.seeds)
        n_experts = shares.total()
        experts: list[Unit] = []
        for share, n in sorted(shares.items(), reverse=True):
            what = "an expert" if share == 1 else f"an expert on {share:g} of the features"
            experts += self._trained("experts", what, "weak", training, self.n_easy, n, share=share)
        experts += self._trained("experts", "an expert at T times the budget", "weak", long, self.n_easy, self.n_seeds)
        if count := fold_trainings(config.ensemble) * self.n_seeds:
            n_fold = round(self.n_easy * (1 - 1 / config.ensemble.n_folds))
            experts += self._trained("experts", "its like on folds", "weak", training, n_fold, count, kept=0)
        experts.append(self._scored("experts", "an expert's evaluation", "weak", self.n_all, n_experts + self.n_seeds))
        students = self._trained(
            "students", "strong on easy", "strong", config.student_training, self.n_easy, self.n_seeds
        )
        if "hard_pool" in self.prepared.split.sealed:
            students += self._trained(
                "students", "the ceiling", "strong", config.student_training, self.n_hard, self.n_seeds
            )
        for n, each in student_sizes(config, self.n_easy, self.n_hard).items():
            count = each * self.n_seeds
            students += self._trained("students", f"a student of {n}", "strong", config.student_training, n, count)
        if count := students_on_the_way(config) * self.n_seeds:
            what = "a label model's student"
            students += self._trained("students", what, "strong", config.student_training, self.n_hard, count)
        n_students = sum(unit.count for unit in students)
        seen = self.n_val + self.n_tests
        students.append(self._scored("students", "a student's evaluation", "strong", seen, n_students))
        reading = self._trunk("strong", strong) + ([] if self._one_pass() else self._trunk("weak", weak))
        if config.strong.adapter != "head":  # the pooled feature of zero-shot scoring is not cached
            reading.append(self._pass("students", "zero-shot scoring", seen, self.n_seeds))
        n_rows = 4 + n_methods + len(config.students.pairs(config.ensemble.methods))
        n_intervals = 4 * n_rows * max(1, len(self.prepared.split.tests))
        evaluate = Unit("evaluate", "intervals", "interval", "both", n_intervals, 1.0)
        return [*reading, *experts, *students, evaluate]

    def _one_pass(self) -> bool:
        """Depths of one network are read together, in one pass through the deepest."""
        weak, strong = self.config.weak, self.config.strong
        alike = {"model", "revision", "dtype", "max_length", "trust_remote_code_from", "chat"}
        return weak.adapter == strong.adapter == "head" and weak.model_dump(include=alike) == strong.model_dump(
            include=alike
        )

    def _n_depths(self, name: WhichSide) -> int:
        """Of which one pass through this side's trunk gives the features."""
        weak, strong = (side.backbone.n_layers for side in (self.prepared.weak, self.prepared.strong))
        members = depths_of(self.config.ensemble, weak, self.config.seeds)
        if self._one_pass():
            return len({weak, strong, *members})
        return 1 + len(members) if name == "weak" else 1

    def _trunk(self, name: WhichSide, side: Side) -> list[Unit]:
        if isinstance(side.inputs, IdInputs | EmbeddedInputs):
            return []
        lengths = side.inputs.lengths
        pooled = side.config.adapter == "head"
        kept = activation_bytes(lengths, side.backbone.hidden_size, side.backbone.dtype, pooled)
        kept *= self._n_depths(name)
        tokens = int(lengths.sum())
        flops = cost.trunk_cost(side, tokens).flops
        return [Unit("prepare", "the trunk reads all examples", "read", name, 1, tokens, tokens, flops, kept)]

    def _pass(self, stage: Stage, what: str, n: int, count: int) -> Unit:
        side = self.prepared.strong
        tokens = round(n * float(self.lengths["strong"].mean()))
        return Unit(stage, what, "read", "strong", count, tokens, tokens, side.flops_per_token * tokens)

    def _trained(
        self,
        stage: Stage,
        what: str,
        name: WhichSide,
        training: TrainConfig,
        n: int,
        count: int,
        kept: int | None = None,
        share: float | int = 1.0,
    ) -> list[Unit]:
        side: Side = getattr(self.prepared, name)
        width = side.backbone.hidden_size
        unread = (width - max(1, round(share * width))) * (side.config.head_hidden or self.prepared.n_classes)
        tokens = n * float(self.lengths[name].mean())
        spent = cost.training_cost(
            side, owned=self.owned[name] - unread, tokens=round(training.epochs * tokens), examples=training.epochs * n
        )
        evaluated = self.n_all if name == "weak" else self.n_val + self.n_tests
        if kept is None:
            kept = 4 * (self.owned[name] + evaluated * self.prepared.n_classes)
        amount = training_amount(side.config.adapter, training, n, tokens)
        return [Unit(stage, what, "train", name, count, amount, int(spent.training_tokens), spent.flops, kept)]

    def _scored(self, stage: Stage, what: str, name: WhichSide, n: int, count: int) -> Unit:
        side: Side = getattr(self.prepared, name)
        tokens = round(n * float(self.lengths[name].mean()))
        spent = cost.evaluation_cost(side, owned=self.owned[name], tokens=tokens, examples=n)
        return Unit(stage, what, "score", name, count, tokens, tokens, spent.flops)
