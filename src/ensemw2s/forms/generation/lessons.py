"""Second lessons of students that generate answers: their pairs, and how these are learned."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.config import Recipe, TrainConfig, canonical_hash
from ensemw2s.core.labels import Labelled
from ensemw2s.core.preferences import Pair, PreferenceLoss
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.evaluation import costs
from ensemw2s.forms.costs import training_cost, trunk_cost, validation_cost
from ensemw2s.forms.generation.labelling.ballot import AnswerBallot
from ensemw2s.forms.generation.labelling.labels import right_texts
from ensemw2s.forms.generation.pairs import Asked, PairMaker, pair_of
from ensemw2s.forms.generation.pool import given_texts
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.scores import AnswerVoters, PoolVoters, right_among
from ensemw2s.models.adapting.adapters import load_owned, n_trainable, owned_state
from ensemw2s.models.language import AnswerModel
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.train.pairs import PairSupervision, train_pairs
from ensemw2s.training_end import TrainingEnd


@dataclass(frozen=True)
class PairLesson:
    """What one student learns after its labels."""

    training: TrainConfig
    """Resolved."""
    supervision: PairSupervision
    """Where what a pair shares counts to the prompt."""
    loss: PreferenceLoss
    named: tuple[str, dict[str, Any]]
    """The loss by its name, with its options."""
    start: AnswerVoters
    """The student."""
    val: Int[Tensor, " val"] | None
    """Easy validation questions, by which it is judged; None where it is not."""
    facts: dict[str, Any]

    @property
    def n_pairs(self) -> int:
        return len(self.supervision.probability)


@dataclass(frozen=True)
class PairLessons:
    """Implements `forms.lessons.LessonForm`."""

    prepared: AnswerPrepared

    def prepare(
        self,
        ballot: AnswerBallot,
        labelled: Labelled,
        recipe: Recipe,
        row: str,
        student: AnswerVoters,
        teacher: AnswerVoters | PoolVoters,
    ) -> tuple[PairLesson, Cost]:
        prepared, seed, then = self.prepared, ballot.seed, recipe.then
        assert then is not None
        hard, people = seed.draw.hard_unlabelled, ballot.people()
        weak = list(ballot.candidates.chosen(labelled))
        for i, answer in people.items():
            weak[i] = answer
        easy, spent = None, costs.NOTHING
        if then.denoise != "none":
            said, spent = given_texts(prepared, seed, teacher, seed.draw.easy_val)
            easy = Asked(seed.draw.easy_val, said)
        maker = PairMaker(prepared, seed, then, student, ballot.judges)
        record, making = maker.make(row, Asked(hard, weak, frozenset(people)), easy)
        place = {name: int(each) for name, each in zip(prepared.names_of(hard), hard.tolist(), strict=True)}
        pairs, guarded = [pair_of(each) for each in record["pairs"]], record.get("guard")
        scale = then.margin_scale if guarded is not None and guarded["share"] > 0 else 0.0
        lesson = PairLesson(
            prepared.config.training_of_lesson(then),
            PairSupervision(
                self._encoded([place[each["id"]] for each in record["pairs"]], pairs),
                torch.tensor([pair.probability for pair in pairs], dtype=torch.float64),
                torch.tensor([scale * max(pair.margin, 0.0) for pair in pairs], dtype=torch.float64),
            ),
            then.make_loss(),
            (then.loss, asdict(then.make_loss())),  # pyright: ignore[reportArgumentType]
            student,
            seed.draw.easy_val,
            {name: record[name] for name in ("n_questions", "n_without", "guard") if name in record},
        )
        return lesson, costs.total([spent, making])

    def _encoded(self, rows: Sequence[int], pairs: Sequence[Pair]) -> AnswerTokens:
        """Chosen and rejected answers in turn. What they share is read with the prompt, and nothing of it learned."""
        prepared = self.prepared
        if not pairs:
            return AnswerTokens((), ())
        each = torch.tensor([row for row in rows for _ in range(2)], dtype=torch.long)
        texts = [text for pair in pairs for text in (pair.chosen, pair.rejected)]
        answers = prepared.strong.answers(each, texts, prepared.names_of(each))
        lengths = list(answers.prompt_lengths)
        for i, pair in enumerate(pairs):
            if pair.shared:
                one, other = answers.ids[2 * i : 2 * i + 2]
                same = next(k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
                lengths[2 * i] = lengths[2 * i + 1] = same
        return AnswerTokens(answers.ids, tuple(lengths))

    def again(self, lesson: PairLesson, student: AnswerVoters, training: TrainConfig) -> PairLesson:
        return replace(lesson, start=student, training=training, val=None)

    def deciding(self, training_set: PairLesson) -> dict[str, Any]:
        prepared, lesson = self.prepared, training_set
        generation, val = prepared.config.generation, lesson.val
        judged = None
        if val is not None:
            judged = {
                "ids": prepared.names_of(val),
                "truth": canonical_hash([prepared.split.easy_answers[row] for row in val.tolist()]),
                "answer_by": generation.answer_by,
                "written": prepared.decoding.model_dump(exclude={"batch_rows"})
                if prepared.config.task.needs_decoding
                else None,
            }
        pairs = lesson.supervision
        doubts = [pairs.probability.tolist(), pairs.margin.tolist()]
        is_doubted = bool((pairs.probability < 1.0).any() or pairs.margin.any())
        return {
            "start": list(lesson.start.keys),
            "pairs": canonical_hash([pairs.answers.ids, pairs.answers.prompt_lengths]),
            "loss": lesson.named,
            "judged": judged,
        } | ({"doubts": canonical_hash(doubts)} if is_doubted else {})

    def fit(self, training_set: PairLesson, *, seed: int, checkpointer: Checkpointer | None) -> Artifact:
        lesson, role = training_set, self.prepared.strong
        module = role.builder(lesson.training)(stream(seed, "init"))
        load_owned(module, lesson.start.states[0])
        end, what = train_pairs(
            module,
            self._inputs(lesson),
            lesson.supervision,
            lesson.loss,
            lesson.training,
            seed=seed,
            judge=None if lesson.val is None else self._judge(lesson.val),
            checkpointer=checkpointer,
        )
        state = {f"state/{n}": t for n, t in owned_state(module).items()}
        return Artifact(state, {"owned": n_trainable(module)} | end.record | what.record)

    def _inputs(self, lesson: PairLesson) -> Inputs:
        return self.prepared.strong.open(lesson.supervision.answers.read)

    def _judge(self, val: Int[Tensor, " val"]) -> Callable[[AnswerModel], float]:
        """Share of these easy questions that a model gets wrong, by the run's own metric."""
        prepared, role = self.prepared, self.prepared.strong
        truths = [prepared.split.easy_answers[row] for row in val.tolist()]

        def wrong(module: AnswerModel) -> float:
            if prepared.config.task.needs_decoding:
                # A copy, because models that write are turned into the trunk's dtype.
                models = role.load([{name: tensor.clone() for name, tensor in owned_state(module).items()}])
                names = prepared.names_of(val)
                said = role.write(models, torch.ones(1), val, prepared.decoding, names, prepared.token_vote)
                right = right_texts(prepared, [d.text for d in said], truths)
            else:
                right = right_among(
                    prepared,
                    role,
                    val,
                    truths,
                    lambda answers: score_answers(
                        [module], role.open(answers.read), answers, torch.arange(len(answers.ids))
                    ),
                ).together[-1]
            return 1.0 - float(right.double().mean())

        return wrong

    def voters(self, training_set: PairLesson, artifact: Artifact, key: str) -> AnswerVoters:
        return AnswerVoters.one(self.prepared.strong, key, artifact.state)

    def cost(self, training_set: PairLesson, artifact: Artifact) -> Cost:
        """The trunk reads every pair once, the student twice without learning, before and after. In training answers go
        through the vocabulary head once more."""
        lesson, role, end = training_set, self.prepared.strong, TrainingEnd.of(artifact.record)
        epochs, owned = lesson.training.passes_of(end), artifact.record["owned"]
        read = {
            "tokens": int(self._inputs(lesson).lengths.sum()),
            "examples": len(lesson.supervision.answers.ids),
            "answer_tokens": len(lesson.supervision.answers.targets),
        }
        parts = [
            trunk_cost(role, read["tokens"]),
            training_cost(role, owned=owned, **{name: epochs * n for name, n in read.items()}),
            validation_cost(role, owned=owned, passes=2, **read),
            costs.NOTHING.model_copy(update={"flops": 2.0 * role.head_weights * epochs * read["answer_tokens"]}),
        ]
        if lesson.val is not None:
            easy = self.prepared.easy_answers(role)
            n_val, n_answer = sum(len(easy.read[r]) for r in lesson.val.tolist()), len(easy.tokens_of(lesson.val))
            passes = 2 + (0 if end is None else end.validations)
            scored = {"owned": owned, "tokens": n_val, "examples": len(lesson.val), "answer_tokens": n_answer}
            parts.append(validation_cost(role, passes=passes, **scored))
        return costs.total(parts)
