"""What only generation counts."""

from dataclasses import replace

import torch

from ensemw2s.ensemble.methods import n_asked, n_contexts
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.merging import SCALES
from ensemw2s.models.adapting.adapters import owned_state
from ensemw2s.services.planning.counts import Amounts, Counts
from ensemw2s.services.planning.judged import JudgeCounts
from ensemw2s.services.planning.units import RoleName, Stage, Unit, trainings_of
from ensemw2s.tables import METHODS


class AnswerCounts(Counts):
    """Questions answered by generated text. Means over the easy pool stand for all answers: the others are sealed."""

    def __init__(self, prepared: AnswerPrepared):
        amounts: dict[str, Amounts] = {}
        rows = torch.arange(len(prepared.split.easy_answers))
        options = [len(each) for each in prepared.options(rows)] if prepared.by_choice else [1]
        for name, training in trainings_of(prepared.config):
            role = prepared.roles[name]
            answers = prepared.easy_answers(role)
            owned = sum(t.numel() for t in owned_state(role.builder(training)(torch.Generator())).values())
            n = len(answers.ids)
            amounts[name] = Amounts(
                sum(map(len, answers.read)) / n, owned, len(answers.targets) / n, sum(options) / len(options)
            )
        super().__init__(prepared, amounts)
        self.answers = prepared
        each = [contexts.mean_tokens for contexts in prepared.contexts.values()]
        self.context_tokens = sum(each) / len(each) if each else 0.0

    @property
    def n_asked(self) -> int:
        return self.n_seeds * n_asked(self.config.ensemble)

    @property
    def n_evaluated(self) -> int:
        return self.n_val + self.n_tests

    def student_bytes(self) -> int:
        return 4 * self.amounts["strong"].owned

    def reading(self) -> list[Unit]:
        what = "the trunk reads the easy answers"
        units = [unit for name in self.weak_names for unit in self._read("prepare", what, name, self._n_pool, 1)]
        return units + self._behind_contexts()

    def _behind_contexts(self) -> list[Unit]:
        """Passes of the trunk for each context: over the easy answers behind all of it, and over the tests' answers
        behind what it has read of it."""
        n = self.n_seeds * n_contexts(self.config.ensemble)
        if not n:
            return []
        role = self.role("weak")
        each = self.amounts["weak"].read
        learned, seen = round(self._n_pool * (each + self.context_tokens)), round((self.n_val + self.n_tests) * each)
        kept, per_token = learned * role.backbone.hidden_size * role.backbone.dtype.itemsize, role.trunk_flops
        what, tested = "the trunk reads the easy answers behind a context", "the trunk reads the tests behind a context"
        return [
            Unit("experts", what, "read", "weak", n, learned, learned, per_token * learned, kept),
            Unit("evaluate", tested, "read", "weak", n, seen, seen, per_token * seen),
        ]

    def reading_of_tests(self) -> list[Unit]:
        names: list[RoleName] = [*self.weak_names, "strong"]
        what = "the trunk reads perturbed tests"
        return [unit for name in names for unit in self._read("evaluate", what, name, self.n_tests, 1)]

    def reading_of_copies(self, n: int) -> list[Unit]:
        return self._read("students", "the trunk reads perturbed copies", "strong", n, 1)

    def labelling(self) -> list[Unit]:
        n, n_methods = self.n_seeds, len(self.config.ensemble.methods)
        n_behind = sum(METHODS[name].reads_contexts for name in self.config.ensemble.methods)
        # Every size of an ensemble is scored from one pass of each member, once with all and once with the chosen.
        scored, written = "an expert's answers on easy-val", "an ensemble's pseudo-answers"
        if self.weak_names == ["weak"]:
            experts = [
                self.scored("experts", scored, "weak", self.n_val, self.n_voters * n),
                self.written("labels", written, "weak", self.n_hard, (n_methods - n_behind) * n),
                self.written("labels", f"{written} behind contexts", "weak", self.n_hard, n_behind * n, shares=False),
            ]
        else:  # each expert writes by itself
            taken = self.taken_of_pool()
            experts = [
                *(self.written("experts", scored, name, self.n_val, count) for name, count in taken.items()),
                *(self.written("labels", "an expert's answers", name, self.n_hard, k) for name, k in taken.items()),
            ]
        if self.n_merged:
            n_tried = len(SCALES) * self.n_val
            tried = self.scored("experts", "a merged model's answers on easy-val", "weak", n_tried, self.n_merged)
            experts.append(replace(tried, kept=self.merged_bytes()))
        return [
            *experts,
            *self._drawn(),
            *JudgeCounts(self).units(),
            self.written("students", "the strong model's own pseudo-answers", "strong", self.n_hard, n),
            *self._read("students", "the trunk reads the easy answers", "strong", self._n_pool, 1),
            *self._read("students", "the trunk reads pseudo-answers", "strong", self.n_hard, (2 + n_methods) * n),
        ]

    def _drawn(self) -> list[Unit]:
        """Samples of every ensemble, of a pool those of a member each, and of the strong model."""
        n_drawn, count = self.config.generation.samples * self.n_hard, self.n_seeds
        each, of_ensembles = -(-n_drawn // len(self.weak_names)), count * len(self.config.ensemble.methods)
        own = "the strong model's drawn answers"
        return [
            *(self.written("labels", "drawn answers", k, each, of_ensembles, begun=True) for k in self.weak_names),
            self.written("students", own, "strong", n_drawn, count, begun=True),
        ]

    def on_the_way(self, count: int) -> list[Unit]:
        return [
            self.written("students", "a label model's student's answers", "strong", self.n_hard, count),
            *self._read("students", "the trunk reads these answers", "strong", self.n_hard, count),
        ]

    def second_lessons(self) -> list[Unit]:
        """At most: how many pairs there are, only the samples say."""
        units: list[Unit] = []
        for teacher, recipe in self.config.students.pairs(self.config.ensemble.methods):
            if recipe.then is None:
                continue
            n_drawn = recipe.then.n_samples * self.n_hard
            n_answers = 2 * self.n_hard * recipe.then.make_pairing().at_most(recipe.then.n_samples)
            training, kept = self.config.training_of_lesson(recipe.then), self.student_bytes()
            units += JudgeCounts(self).of_pairs(recipe.then, teacher)
            units += [
                self.written("students", "a student's drawn answers", "strong", n_drawn, self.n_seeds),
                *self._read("students", "the trunk reads pairs", "strong", n_answers, self.n_seeds),
                self.trained("students", "a second lesson", "strong", training, n_answers, self.n_seeds, kept=kept),
            ]
        return units

    def evaluating(self, n_students: int) -> list[Unit]:
        n, n_seen = self.n_seeds, self.n_tests + self.n_val
        names: list[RoleName] = [*self.weak_names, "strong"]
        units = [
            unit
            for name in names
            for unit in self._read("evaluate", "the trunk reads the tests' answers", name, self.n_tests, 1)
        ]
        what = "a member's answers to the tests"
        if self.weak_names == ["weak"]:
            units.append(self.scored("evaluate", what, "weak", n_seen, (self.n_voters + 2) * n))
            if self.n_merged:
                of_merged = "a merged model's answers to the tests"
                units.append(self.scored("evaluate", of_merged, "weak", self.n_tests, self.n_merged))
        else:
            units += [self.written("evaluate", what, name, self.n_tests, k) for name, k in self.taken_of_pool().items()]
        units += [
            self.scored("evaluate", "a student's answers to the tests", "strong", n_seen, n_students),
            Unit("evaluate", "intervals", "interval", "both", 4 * n_students // n, 1.0),
        ]
        if not self.answers.by_choice:
            count = n * sum(not METHODS[name].learns for name in self.config.ensemble.methods)
            asked = "untrained members' answers, written out"
            if count:
                units.append(self.written("evaluate", asked, "weak", n_seen, count, is_trained=False, shares=False))
            n_asked = self.n_tests + n * self.n_val
            units.append(self.written("evaluate", "zero-shot answers", "strong", n_asked, 1, is_trained=False))
        return units

    @property
    def _n_pool(self) -> int:
        return len(self.prepared.split.pools["easy_pool"])

    def _read(self, stage: Stage, what: str, name: RoleName, n: int, count: int) -> list[Unit]:
        if self.role(name).trunk_flops == 0.0:
            return []
        return [self.read(stage, what, name, n, count, n * self.amounts[name].read)]

    def written(
        self,
        stage: Stage,
        what: str,
        name: RoleName,
        n: int,
        count: int,
        *,
        is_trained: bool = True,
        begun: bool = False,
        shares: bool = True,
    ) -> Unit:
        """Answers to `n` questions.

        Args:
            is_trained: whether whoever writes knows where to end.
            begun: whether they go on from answers (`generation.restart`).
            shares: whether the trunk reads once for all members.
        """
        members = self.config.ensemble.n_rounds if name == "weak" else 1
        if self.answers.by_choice:
            return self.scored(stage, what, name, n * members, count)
        role, amounts = self.role(name), self.amounts[name]
        # An untrained model does not know where to end.
        n_written = n * (amounts.answer if is_trained else self.answers.decoding.max_new_tokens)
        per_token = (1 if shares else members) * role.trunk_flops + members * role.own_flops
        n_read = n * amounts.read
        if begun and (most := self.answers.most_begun(self.answers.roles[name])):
            # A whole answer, of which lines may be taken back, and the marker are read before it is gone on from.
            n_read += n * (amounts.answer + most - self.answers.decoding.max_new_tokens)
        flops = per_token * (n_read + n_written) + 2.0 * members * role.head_weights * n_written
        verb, amount = ("write", n_written) if is_trained else ("ask", n)
        return Unit(stage, what, verb, name, count, amount, round(n_read), flops)
