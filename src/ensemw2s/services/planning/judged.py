"""What judges of answers in words cost: making them, and asking them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensemw2s.config import Preference
from ensemw2s.ensemble.methods import make_method
from ensemw2s.forms.generation.judging.training import TRAINING
from ensemw2s.results.conditions import SELF
from ensemw2s.services.planning.units import RoleName, Unit, judge_readings

if TYPE_CHECKING:
    from ensemw2s.services.planning.words import AnswerCounts


@dataclass(frozen=True)
class JudgeCounts:
    """The part that judges have in a run."""

    counts: "AnswerCounts"

    def units(self) -> list[Unit]:
        """Making them, asking them about teachers' answers, and choosing among students' samples; a run that has judges
        makes them whether anybody asks them or not."""
        if self.counts.config.judges.kind == "none":
            return []
        return [*self._of_teachers(), *self._made(), *self._at_test()]

    def of_pairs(self, then: Preference, teacher: str) -> list[Unit]:
        """What judges read for a second lesson, at most, and the easy answers that say how far to trust them."""
        if not then.reads_judges:
            return []
        counts, n = self.counts, self.counts.n_seeds
        pairing, n_questions, units = then.make_pairing(), counts.n_hard, list[Unit]()
        if then.denoise != "none":
            n_questions += counts.n_val
            who: list[RoleName] = ["strong"] if teacher == SELF else counts.weak_names
            n_drawn = then.n_samples * counts.n_val
            units += [
                *(counts.written("students", "a teacher's easy answers", name, counts.n_val, n) for name in who),
                counts.written("students", "a student's drawn easy answers", "strong", n_drawn, n),
            ]
        of_pairing = then.n_samples + 1 if getattr(pairing, "reads_judges", False) else 0
        of_pairs = 2 * pairing.at_most(then.n_samples) if then.denoise != "none" else 0
        return [*units, self._asked("judges read pairs", n_questions * (of_pairing + of_pairs), n)]

    def _of_teachers(self) -> list[Unit]:
        counts, teachers = self.counts, self._judged_teachers()
        if not teachers:
            return []
        said = 1 + sum(map(self._n_members, teachers)) / len(teachers)  # together, and each by itself
        n_answers = counts.n_hard * (counts.config.generation.samples + said)
        return [self._asked("judges read answers", n_answers, len(teachers) * counts.n_seeds)]

    def _judged_teachers(self) -> list[str]:
        """Those whose answers are judged: for recipes, or all of them, where the truth is known that says what a choice
        among their samples is worth."""
        config = self.counts.config
        methods = config.ensemble.methods
        if config.generation.samples and "hard_pool" in self.counts.prepared.split.sealed:
            return [SELF, *methods]
        pairs = config.students.pairs(methods)
        return list(dict.fromkeys(teacher for teacher, recipe in pairs if recipe.labels_read_judges))

    def _n_members(self, teacher: str) -> int:
        """Members of a teacher, each of which may have an answer of its own."""
        ensemble = self.counts.config.ensemble
        return 0 if teacher == SELF else make_method(teacher, ensemble).n_members(ensemble.n_rounds)

    def _made(self) -> list[Unit]:
        """Those that learn; others are the model as it is."""
        counts, judges, units = self.counts, self.counts.config.judges, list[Unit]()
        if judges.kind != "trained":
            return units
        n, n_easy, width = counts.n_seeds, counts.n_easy + counts.n_val, counts.role("strong").backbone.hidden_size
        if not counts.answers.by_choice:
            n_drawn = judges.n_negatives * n_easy
            units.append(counts.written("students", "wrong answers for judges", counts.weak_names[0], n_drawn, n))
        n_texts, uses = (1 + judges.n_negatives) * n_easy, TRAINING.passes * 2 * judges.n_negatives * counts.n_easy
        made, flops = judges.n_judges * n, 12.0 * width * uses
        return [
            *units,
            self._read("judges read easy answers", n_texts, n),
            Unit("students", "a judge", "fit", "strong", made, uses, 0, flops, kept=8 * width),
        ]

    def _at_test(self) -> list[Unit]:
        """Choices among answers to the tests, of strong-on-easy and of the first recipe's students."""
        counts, config = self.counts, self.counts.config
        if not config.judges.at_test:
            return []
        first, pairs = config.students.recipes[0], config.students.pairs(config.ensemble.methods)
        count = (1 + sum(recipe == first for _, recipe in pairs)) * counts.n_seeds
        n_drawn = config.generation.samples * (counts.n_val + counts.n_tests)
        return [
            counts.written("students", "drawn answers to the tests", "strong", n_drawn, count),
            self._asked("judges read answers to the tests", n_drawn, count),
        ]

    def _asked(self, what: str, n: int | float, count: int) -> Unit:
        """Judges are asked about so many answers."""
        return self._read(what, n * judge_readings(self.counts.config.judges), count)

    def _read(self, what: str, n: int | float, count: int) -> Unit:
        """The whole strong model reads so many questions with an answer."""
        role, tokens = self.counts.role("strong"), round(n * self.counts.amounts["strong"].read)
        flops = (role.trunk_flops + role.own_flops) * tokens
        return Unit("students", what, "judge", "strong", count, tokens, tokens, flops)
