"""What only classes count."""

from dataclasses import replace

import torch

from ensemw2s.ensemble.methods import depths_of, methods_of_several, n_asked, n_contexts
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.shared import shares_checkpoint
from ensemw2s.forms.merging import SCALES
from ensemw2s.models.adapting.adapters import n_trainable
from ensemw2s.models.inputs import EmbeddedInputs, IdInputs, PooledInputs
from ensemw2s.services.planning.counts import Amounts, Counts
from ensemw2s.services.planning.units import RoleName, Unit, merged_models, trainings_of
from ensemw2s.tables import METHODS


class ClassCounts(Counts):
    """Questions answered by a class."""

    def __init__(self, prepared: ClassPrepared):
        amounts: dict[str, Amounts] = {}
        for name, training in trainings_of(prepared.config):
            role = prepared.roles[name]
            module = role.builder(training, prepared.n_classes)(torch.Generator())
            amounts[name] = Amounts(float(role.inputs.lengths.double().mean()), n_trainable(module))
        super().__init__(prepared, amounts)
        self.classes = prepared
        each = [contexts.mean_tokens for contexts in prepared.contexts.values()]
        self.context_tokens = sum(each) / len(each) if each else 0.0

    @property
    def n_evaluated(self) -> int:
        return self.n_all

    def expert_bytes(self, name: RoleName) -> int:
        return super().expert_bytes(name) + 4 * self.n_all * self.classes.n_classes

    def student_bytes(self) -> int:
        return 4 * (self.amounts["strong"].owned + (self.n_val + self.n_tests) * self.classes.n_classes)

    def reading(self) -> list[Unit]:
        return self._trunks() + self._behind_contexts()

    def _trunks(self) -> list[Unit]:
        """One pass through the deepest of a checkpoint's heads gives the features of all; other adapters read apart."""
        units: list[Unit] = []
        heads: dict[str, list[RoleName]] = {}
        for name in reversed(list(self.classes.roles)):  # the strong model first
            role = self.classes.roles[name]
            if role.config.adapter == "head":
                alike = (other for other in heads if shares_checkpoint(self.classes.roles[other].config, role.config))
                heads.setdefault(next(alike, name), []).append(name)
            else:
                units += self._trunk(name, 1)
        for names in heads.values():
            depths = {self.classes.roles[name].trunk.n_layers for name in names}
            if "weak" in names:
                depths |= depths_of(self.config.ensemble, self.role("weak").trunk.n_layers, self.config.seeds)
            units += self._trunk(max(names, key=lambda name: self.role(name).trunk.n_layers), len(depths))
        return units

    def reading_of_tests(self) -> list[Unit]:
        return self._again(self.reading(), "perturbed tests", self.n_tests)

    def reading_of_copies(self, n: int) -> list[Unit]:
        return self._again(self._trunks(), "perturbed copies", n)

    def _again(self, units: list[Unit], what: str, n: int) -> list[Unit]:
        share = n / self.n_all
        return [
            replace(
                unit,
                what=unit.what.replace("all examples", what),
                amount=share * unit.amount,
                tokens=round(share * unit.tokens),
                flops=share * unit.flops,
                kept=round(share * unit.kept),
            )
            for unit in units
        ]

    def _behind_contexts(self) -> list[Unit]:
        """A pass over all examples for each context: one for trained members and for those that are asked, or two."""
        learns = {METHODS[name].learns for name in self.config.ensemble.methods if METHODS[name].reads_contexts}
        units: list[Unit] = self._writing()
        for contexts in self.classes.contexts.values():
            if len(learns) > 1 and contexts.asks_alike:
                learns = {True}
            for is_asked in sorted(not each for each in learns):
                role, n = contexts.role, n_contexts(self.config.ensemble)
                tokens = round(contexts.n_read_at_most(is_asked=is_asked))
                width = role.backbone.output_size if is_asked else role.backbone.feature_size
                kept = self.n_all * width * role.backbone.dtype.itemsize
                what = "the trunk reads all examples behind a context"
                units.append(Unit("experts", what, "read", "weak", n, tokens, tokens, role.trunk_flops * tokens, kept))
        return units

    def labelling(self) -> list[Unit]:
        experts = [unit for unit in self._experts() if "expert" in unit.what]
        counts = {name: sum(unit.count for unit in experts if unit.role == name) for name in self.classes.roles}
        units = [
            self.scored("experts", "an expert's evaluation", name, self.n_all, count)
            for name, count in counts.items()
            if count
        ]
        if self.n_merged:
            n = self.n_all + len(SCALES) * self.n_val
            asked = self.scored("experts", "a merged model's evaluation", "weak", n, self.n_merged)
            units.append(replace(asked, kept=self.merged_bytes()))
        if self.config.ensemble.vote == "gated" and self.role("weak").config.adapter != "head":
            units += self._features_of_gates()
        return units

    def _features_of_gates(self) -> list[Unit]:
        """Passes of the whole weak model, one for each method's gate; heads read what a gate reads."""
        role, n = self.role("weak"), len(methods_of_several(self.config.ensemble)) * self.n_seeds
        tokens = round(self.n_all * self.amounts["weak"].read)
        flops = (role.trunk_flops + role.own_flops) * tokens
        return [Unit("experts", "a gate's features", "read", "weak", n, tokens, tokens, flops)]

    @property
    def n_asked(self) -> int:
        return len(self.config.seeds) * n_asked(self.config.ensemble)

    def on_the_way(self, count: int) -> list[Unit]:
        return []

    def second_lessons(self) -> list[Unit]:
        return []

    def evaluating(self, n_students: int) -> list[Unit]:
        config, seen = self.config, self.n_val + self.n_tests
        units = [self.scored("students", "a student's evaluation", "strong", seen, n_students)]
        last = self.classes.strong.last
        if last is not None and not isinstance(last, PooledInputs):  # what zero-shot scoring reads is not cached
            units.append(self.read("students", "zero-shot scoring", "strong", seen, self.n_seeds, 0))
        if shown := config.students.in_context:
            units.append(self._in_context(shown))
        ensemble, n_students = config.ensemble, len(config.students.pairs(config.ensemble.methods))
        n_rows = 4 + len(ensemble.methods) + merged_models(ensemble) + n_students
        n_intervals = 4 * n_rows * max(1, len(self.prepared.split.tests))
        return [*units, Unit("evaluate", "intervals", "interval", "both", n_intervals, 1.0)]

    def _writing(self) -> list[Unit]:
        """What a model writes before questions, at most; the seeds share it."""
        contexts = next(iter(self.classes.contexts.values()), None)
        if contexts is None or contexts.writer is None:
            return []
        settings, writer = self.config.ensemble.context, contexts.writer
        read, written = contexts.most_written()
        flops = writer.flops(read, written)
        return [Unit("experts", "contexts are written", "write", settings.written_by, 1, written, read, flops)]

    def _in_context(self, n_shown: int) -> Unit:
        """The untrained strong model reads a method's labels once, and the questions behind them."""
        role, n = self.classes.strong, self.n_easy + self.n_val + self.n_tests
        tokens = round((n_shown + n) * self.amounts["strong"].read)
        flops = (role.trunk_flops + role.own_flops) * tokens
        count = self.n_seeds * len(self.config.ensemble.methods)
        return Unit("students", "the strong model behind weak labels", "read", "strong", count, tokens, tokens, flops)

    def _trunk(self, name: RoleName, n_depths: int) -> list[Unit]:
        role = self.classes.roles[name]
        if isinstance(role.inputs, IdInputs | EmbeddedInputs):
            return []
        vectors = self.n_all if role.config.adapter == "head" else int(role.inputs.lengths.sum())
        what = "the trunk reads all examples"
        return [self.read("prepare", what, name, self.n_all, 1, vectors * n_depths)]
