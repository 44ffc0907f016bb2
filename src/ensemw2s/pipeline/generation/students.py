"""The third stage in words: a student of every label set, the baselines and the ceiling."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import Recipe, canonical_hash
from ensemw2s.config.recipe import Teacher
from ensemw2s.core.labels import Labelled
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.core.selection import Evidence
from ensemw2s.data.people import people_among
from ensemw2s.errors import DataError
from ensemw2s.forms.generation.candidates import Candidates
from ensemw2s.forms.generation.prepare import join, joined_inputs
from ensemw2s.models.adapters import n_trainable, owned_state
from ensemw2s.pipeline import auto
from ensemw2s.pipeline.generation.cost import NOTHING, decoding_cost, total, training_cost
from ensemw2s.pipeline.generation.labels import pseudo_answers
from ensemw2s.pipeline.generation.work import AnswerWork, Voters
from ensemw2s.pipeline.rows import AUTO
from ensemw2s.pipeline.students import CEILING, SELF, STRONG_ON_EASY, mixture, student_key
from ensemw2s.records import Inputs
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, artifact_key
from ensemw2s.train.answers import AnswerSupervision, train_answers
from ensemw2s.train.checkpoint import Checkpointer

STUDENT_VERSION = 3


class AnswerTeaching:
    """Every training of the strong model in one seed."""

    def __init__(self, work: AnswerWork):
        self.work = work
        self.easy_answers = work.easy["strong"]
        self.easy_inputs = work.prepared.strong.open(self.easy_answers.read)
        self.names = [work.prepared.names[i] for i in work.draw.hard_unlabelled.tolist()]

    def train(self) -> Iterator[None]:
        """Train every student of every teacher, the baselines and, where it can be, the ceiling; yields after each."""
        work, config, side = self.work, self.work.prepared.config, self.work.prepared.strong
        outcome, hard = work.outcome, work.draw.hard_unlabelled
        ones = torch.ones(len(self.easy_answers.targets))
        lesson = AnswerSupervision(self.easy_answers, work.draw.easy_train, ones)
        self._student(STRONG_ON_EASY, self.easy_inputs, lesson, NOTHING)
        yield
        outcome.pseudo[SELF] = pseudo_answers(work, outcome.voters[STRONG_ON_EASY], ["strong_on_easy"])
        spent: dict[str, Cost] = {SELF: outcome.cost[STRONG_ON_EASY]}
        spent |= {method: outcome.cost[method] for method in outcome.ensembles}
        for teacher, recipe in config.students.pairs(config.ensemble.methods):
            texts, labelled, on_the_way = self._labelled(teacher, recipe)
            if recipe.make_selection().reads_own and teacher != SELF:
                on_the_way.append(spent[SELF])
            inputs, lesson = self._lesson(teacher, texts, labelled, recipe)
            key = student_key(teacher, recipe)
            self._student(key, inputs, lesson, total([spent[teacher], *on_the_way]))
            if teacher in outcome.n_experts:
                outcome.n_experts[key] = outcome.n_experts[teacher]
            yield
        if config.students.method == "auto":
            self._choose()
        sealed = work.prepared.split.sealed.get("hard_pool")
        if sealed is None:
            return  # nobody knows the true answers
        truth = sealed.open("ceiling")[hard - work.prepared.split.pools["hard_pool"].start]
        given = side.answers(hard, [work.prepared.task.choices[k] for k in truth.tolist()], self.names)
        lesson = AnswerSupervision(given, torch.arange(len(hard)), torch.ones(len(given.targets)))
        self._student(CEILING, side.open(given.read), lesson, NOTHING)
        yield

    def _choose(self) -> None:
        """Let the rule of `auto` pick among the students."""
        work, outcome, val = self.work, self.work.outcome, self.work.draw.easy_val
        teachers = auto.candidates(work.prepared.config)
        found: dict[str, Tensor] = {}
        for row in teachers:
            v = outcome.voters[row]
            scores = work.scores(v.side, v.keys, list(v.states), v.weights, self.easy_answers, val)
            found[row] = torch.stack([each.mean() for each in scores.gold[-1].split(scores.sizes.tolist())])
        chosen = auto.best_row(found, work.prepared.split.difficulty[val])
        auto.enter(outcome, chosen, teachers)
        outcome.voters[AUTO] = outcome.voters[chosen]

    def _labelled(self, teacher: Teacher, recipe: Recipe) -> tuple[tuple[str, ...], Labelled, list[Cost]]:
        """What a recipe's label model and selection leave of a teacher's answers, and what students on the way cost."""
        model, select = recipe.make_label_model(), recipe.make_selection()
        candidates = Candidates.of(self.work.outcome.pseudo[teacher], model.n_students)
        spent: list[Cost] = []

        def learn(labelled: Labelled) -> Tensor:
            inputs, lesson = self._lesson(teacher, candidates.chosen(labelled), labelled, Recipe(labels="hard"))
            _, voters, cost = self._taught(inputs, lesson)
            said = pseudo_answers(self.work, voters, ["student"])
            spent.extend([cost, decoding_cost(self.work.prepared.strong, 1, said.record)])
            return candidates.add(said)

        labelled = model(candidates.votes, learn)
        # A question that nobody answered has nothing to be learned from, so no selection shall spend its share on it.
        answered = torch.tensor([bool(text) for text in candidates.chosen(labelled)])
        labelled = labelled._replace(keep=labelled.keep & answered if bool(answered.any()) else labelled.keep)
        evidence = Evidence(
            candidates.votes.member,
            self._own(candidates) if select.reads_own else torch.zeros_like(candidates.votes.soft),
            torch.zeros(0, candidates.votes.soft.shape[1]),
            torch.zeros(0, dtype=torch.long),
            _no_features,
        )
        return *self._with_people(candidates, select(labelled, evidence)), spent

    def _with_people(self, candidates: Candidates, labelled: Labelled) -> tuple[tuple[str, ...], Labelled]:
        """People's answers in the place of the pseudo-answers, and sure, so that no recipe drops one."""
        texts, labelled = list(candidates.chosen(labelled)), Labelled(labelled.soft.clone(), labelled.keep.clone())
        for i, answer in people_among(self.work.prepared.people, self.names).items():
            texts[i], labelled.keep[i] = answer, True
            labelled.soft[i] = torch.zeros_like(labelled.soft[i])
            labelled.soft[i, 0] = 1.0
        return tuple(texts), labelled

    def _own(self, candidates: Candidates) -> Float[Tensor, "items classes"]:
        """Of each text, the probability per token that the strong model gives it that learned the easy answers."""
        side, voters = self.work.prepared.strong, self.work.outcome.voters[STRONG_ON_EASY]
        places = [(i, k) for i, there in enumerate(candidates.texts) for k, text in enumerate(there) if text]
        owner = torch.tensor([i for i, _ in places])
        answers = side.answers(
            self.work.draw.hard_unlabelled[owner],
            [candidates.texts[i][k] for i, k in places],
            [self.names[i] for i, _ in places],
        )
        found = self.work.scores(
            side, voters.keys, list(voters.states), voters.weights, answers, torch.arange(len(places))
        )
        means = torch.stack([part.double().mean() for part in found.gold[-1].split(found.sizes.tolist())])
        own = torch.zeros_like(candidates.votes.soft)
        own[owner, torch.tensor([k for _, k in places])] = means.exp().float()
        return own

    def _lesson(
        self, teacher: Teacher, texts: tuple[str, ...], labelled: Labelled, recipe: Recipe
    ) -> tuple[Inputs, AnswerSupervision]:
        """What a recipe learns of these texts, and of the easy answers where it shall.

        Raises:
            DataError: nobody answered any of the questions that are kept.
        """
        side, hard = self.work.prepared.strong, self.work.draw.hard_unlabelled
        answered = torch.tensor([i for i, text in enumerate(texts) if text], dtype=torch.long)
        kept = labelled.keep[answered].nonzero()[:, 0]
        if not len(kept):
            raise DataError(
                f"seed {self.work.seed}: {teacher}, {recipe.name}: none of the {int(labelled.keep.sum())} unlabelled "
                "questions that are kept has an answer; train the experts longer (expert_training), or look at "
                "generation.decoding.stop"
            )
        given = side.answers(hard[answered], [texts[i] for i in answered], [self.names[i] for i in answered])
        both = join(self.easy_answers, given)
        inputs = joined_inputs(self.easy_inputs, side.open(given.read))
        rows = len(self.easy_answers.ids) + kept
        if recipe.with_easy:
            rows = torch.cat([self.work.draw.easy_train, rows])
        difficulty = self.work.prepared.split.difficulty
        of_each = torch.cat([difficulty[: len(self.easy_answers.ids)], difficulty[hard[answered]]])
        of_rows, pace = mixture(recipe, labelled.soft.amax(-1)[answered][kept].float(), of_each[rows])
        weights = torch.ones(len(both.targets))
        weights[both.tokens_of(rows)] = of_rows.repeat_interleave(both.offsets.diff()[rows])
        return inputs, AnswerSupervision(both, rows, weights, pace)

    def _student(self, row: str, inputs: Inputs, lesson: AnswerSupervision, label_cost: Cost) -> None:
        """Train (or find) the student of a row."""
        key, voters, trained = self._taught(inputs, lesson)
        self.work.outcome.voters[row] = voters
        self.work.outcome.cost[row] = total([label_cost, trained])
        self.work.outcome.student_keys[row] = key

    def _taught(self, inputs: Inputs, lesson: AnswerSupervision) -> tuple[str, Voters, Cost]:
        """A student of this lesson, from the store or trained: its key there, who answers, and what it cost."""
        side, training = self.work.prepared.strong, self.work.prepared.config.student_training
        seed = stream_seed(self.work.seed, "student")  # one stream for all rows: they differ by their labels alone
        answers, rows = lesson.answers, lesson.rows
        key = artifact_key(
            STUDENT_VERSION,
            {
                "answers": canonical_hash([answers.ids[r] for r in rows.tolist()]),
                "weights": canonical_hash(lesson.weights[answers.tokens_of(rows)].tolist()),
                "strong": side.fingerprint,
                "training": training.deciding,
                "stream": seed,
                **({} if lesson.pace is None else {"pace": canonical_hash(lesson.pace.deciding)}),
            },
        )

        def compute() -> Artifact:
            module = side.builder(training)(stream(seed, "init"))
            checkpointer = Checkpointer(self.work.store, key)
            train_answers(module, inputs, lesson, training, seed=seed, checkpointer=checkpointer)
            state = {f"state/{name}": t for name, t in owned_state(module).items()}
            return Artifact(state, {"owned": n_trainable(module)})

        found = self.work.memo("students", key, compute)
        Checkpointer(self.work.store, key).clear()
        state = {n.removeprefix("state/"): t for n, t in found.tensors.items()}
        tokens = training.epochs * int(inputs.lengths[rows].sum())
        trained = training_cost(side, state, tokens, training.epochs * len(answers.tokens_of(rows)))
        return key, Voters(side, (key,), (state,), torch.ones(1)), trained


def _no_features() -> tuple[Tensor, Tensor]:
    raise NotImplementedError("no selection that judges texts reads features")
