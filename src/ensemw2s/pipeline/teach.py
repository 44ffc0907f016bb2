"""The strong model's lessons of one seed: baselines, a student per teacher and recipe, the ceiling."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import Recipe, canonical_hash
from ensemw2s.config.recipe import Teacher
from ensemw2s.core.calibration import apply_temperature, fit_temperature
from ensemw2s.core.labels import Labelled, Votes
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.core.selection import Evidence
from ensemw2s.errors import ModelError
from ensemw2s.evaluation.table import part_predictions
from ensemw2s.forms.classification.side import pooled, zero_shot
from ensemw2s.models.adapters import SCALE_ROWS, fit_scale, n_trainable, owned_state
from ensemw2s.pipeline import auto, cost
from ensemw2s.pipeline.rows import AUTO, ZERO_SHOT
from ensemw2s.pipeline.students import CEILING, SELF, STRONG_ON_EASY, Lesson, Lessons, on_truth
from ensemw2s.pipeline.work import Work
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, artifact_key
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.train.loop import Supervision, predict, train

STUDENT_VERSION = 1


def _younger(supervision: Supervision) -> dict[str, Any]:
    """Parts of a student's key that count only where they are used, so that what older stores hold stays good."""
    member, group, weights, pace = *supervision.targets[1:], supervision.weights, supervision.pace
    parts = {
        "groups": None if group is None else group.tolist(),
        "members": None if member is None else canonical_hash(member.tolist()),
        "weights": None if bool((weights == 1.0).all()) else canonical_hash(weights.tolist()),
        "pace": None if pace is None else canonical_hash(pace.deciding),
    }
    return {name: part for name, part in parts.items() if part is not None}


class Teaching:
    """Every training of the strong model in one seed."""

    def __init__(self, work: Work):
        self.work = work

    def train(self) -> Iterator[None]:
        """Train every student of every teacher, the baselines and, where it can be, the ceiling; yields after each."""
        work, prepared, outcome = self.work, self.work.prepared, self.work.outcome
        hard, easy = work.draw.hard_unlabelled, work.draw.easy_train
        self._zero_shot()
        on_easy = on_truth(STRONG_ON_EASY, easy, work.labels[easy], prepared.n_classes)
        tensors = self._student(on_easy, label_cost=cost.NOTHING)
        yield
        on_val = outcome.log_probs[STRONG_ON_EASY]["easy_val"]
        temperature = fit_temperature(on_val, outcome.val_labels)
        own, trusted = (
            apply_temperature(log_probs, temperature).exp() for log_probs in (tensors["hard_log_probs"], on_val)
        )
        work.checker = own, trusted
        teachers: dict[Teacher, Votes] = {SELF: Votes(own[None], torch.ones(1), own)}
        spent: dict[Teacher, Cost] = {SELF: outcome.cost[STRONG_ON_EASY]}
        for method, said in work.weak_labels.items():
            teachers[method] = Votes(said.member, said.expert_weights, said.soft)
            spent[method] = outcome.cost[method]
        lessons = Lessons(easy, work.labels[easy], hard, prepared.split.difficulty, work.people)
        for teacher, recipe in prepared.config.students.pairs(prepared.config.ensemble.methods):
            votes = teachers[teacher]
            labelled, on_the_way = self._labelled(lessons, recipe, votes)
            select = recipe.make_selection()
            evidence = Evidence(votes.member, own, trusted, outcome.val_labels, lambda: self._features)
            labelled = select(labelled, evidence)
            if select.reads_own and teacher != SELF:
                on_the_way.append(spent[SELF])
            lesson = lessons.from_labels(teacher, recipe, labelled, votes.member)
            self._student(lesson, label_cost=cost.total([spent[teacher], *on_the_way]))
            if teacher in outcome.n_experts:
                outcome.n_experts[lesson.key] = outcome.n_experts[teacher]
            yield
        if prepared.config.students.method == "auto":
            self._choose()
        sealed = prepared.split.sealed.get("hard_pool")
        if sealed is None:
            return  # nobody knows the true answers
        truth = sealed.open("ceiling")[hard - prepared.split.pools["hard_pool"].start]
        self._student(on_truth(CEILING, hard, truth, prepared.n_classes), label_cost=cost.NOTHING)
        yield

    def _labelled(self, lessons: Lessons, recipe: Recipe, votes: Votes) -> tuple[Labelled, list[Cost]]:
        """What a recipe's label model makes of the votes, and what each student on the way cost."""
        spent: list[Cost] = []

        def learn(labelled: Labelled) -> Tensor:
            lesson = lessons.plain("on the way", labelled)
            _, found = self._taught(lesson, {"hard": lessons.hard_rows})
            spent.append(self._training_cost(lesson, found.record["owned"]))
            return found.tensors["log_probs"].exp()

        return recipe.make_label_model()(votes, learn), spent

    @cached_property
    def _features(self) -> tuple[Float[Tensor, "hard dim"], Float[Tensor, "val dim"]]:
        """The strong model's, of what is labelled and of what selections may trust."""
        side, draw = self.work.prepared.strong, self.work.draw
        return pooled(side, draw.hard_unlabelled), pooled(side, draw.easy_val)

    def _choose(self) -> None:
        """Let the rule of `auto` pick among the students."""
        work, outcome = self.work, self.work.outcome
        teachers = auto.candidates(work.prepared.config)
        labels = outcome.val_labels[:, None]
        found = {row: outcome.log_probs[row]["easy_val"].gather(1, labels)[:, 0] for row in teachers}
        chosen = auto.best_row(found, work.prepared.split.difficulty[work.draw.easy_val])
        auto.enter(outcome, chosen, teachers)
        outcome.log_probs[AUTO], outcome.student_links[AUTO] = outcome.log_probs[chosen], outcome.student_links[chosen]

    def _zero_shot(self) -> None:
        side = self.work.prepared.strong
        try:
            found = {
                part: zero_shot(side, self.work.prepared.task.choices, rows)
                for part, rows in self.work.eval_rows.items()
            }
        except ModelError:
            return  # the run's notes say why (see runner)
        self.work.outcome.log_probs[ZERO_SHOT] = found
        n_tokens = sum(int(side.pooled.lengths[rows].sum()) for rows in self.work.eval_rows.values())
        self.work.outcome.cost[ZERO_SHOT] = cost.NOTHING.model_copy(update={"flops": side.flops_per_token * n_tokens})

    def _student(self, lesson: Lesson, *, label_cost: Cost) -> dict[str, Tensor]:
        """Train (or find) one student, evaluate it on the three parts; strong-on-easy on the hard part too."""
        rows = dict(self.work.eval_rows)
        if lesson.key == STRONG_ON_EASY:
            rows["hard"] = self.work.draw.hard_unlabelled
        key, found = self._taught(lesson, rows)
        parts = part_predictions(found.tensors["log_probs"], {part: len(r) for part, r in rows.items()})
        self.work.outcome.log_probs[lesson.key] = {part: parts[part] for part in self.work.eval_rows}
        self.work.outcome.cost[lesson.key] = cost.total(
            [label_cost, self._training_cost(lesson, found.record["owned"])]
        )
        self.work.outcome.student_keys[lesson.key] = key
        self.work.outcome.student_links[lesson.key] = lesson.loss.link
        return {"hard_log_probs": parts["hard"]} if "hard" in parts else {}

    def _taught(self, lesson: Lesson, rows: Mapping[str, Int[Tensor, " _"]]) -> tuple[str, Artifact]:
        """A student of this lesson with what it says of these rows, from the store or trained, and its key there."""
        prepared, side, training = (
            self.work.prepared,
            self.work.prepared.strong,
            self.work.prepared.config.student_training,
        )
        seed = stream_seed(self.work.seed, "student")  # one stream for all rows: they differ by their labels alone
        key = artifact_key(
            STUDENT_VERSION,
            {
                "inputs": prepared.split.inputs_fingerprint,
                "rows": lesson.supervision.rows.tolist(),
                "targets": canonical_hash(lesson.supervision.targets.soft.tolist()),
                "evaluated": [r.tolist() for r in rows.values()],
                "strong": side.fingerprint,
                "loss": f"{lesson.loss!r}",
                "training": training.deciding,
                "stream": seed,
                **_younger(lesson.supervision),
            },
        )

        def compute() -> Artifact:
            checkpointer = Checkpointer(self.work.store, key) if side.config.adapter != "head" else None
            module = side.builder(training, prepared.n_classes)(stream(seed, "init"))
            fit_scale(module, side.inputs, lesson.supervision.rows[:SCALE_ROWS])
            train(
                module,
                side.inputs,
                lesson.supervision,
                lesson.loss,
                training,
                seed=seed,
                checkpointer=checkpointer,
            )
            log_probs = predict(
                module,
                side.inputs,
                torch.cat(list(rows.values())),
                link=lesson.loss.link,
                batch_tokens=prepared.config.cache.batch_tokens,
            )
            tensors = {f"state/{name}": t for name, t in owned_state(module).items()}
            return Artifact(tensors | {"log_probs": log_probs}, {"owned": n_trainable(module)})

        found = self.work.memo("students", key, compute)
        Checkpointer(self.work.store, key).clear()
        return key, found

    def _training_cost(self, lesson: Lesson, owned: int) -> Cost:
        side, epochs = self.work.prepared.strong, self.work.prepared.config.student_training.epochs
        rows: Int[Tensor, " samples"] = lesson.supervision.rows
        n_tokens = int(side.inputs.lengths[rows].sum())
        trained = cost.training_cost(side, owned=owned, tokens=epochs * n_tokens, examples=epochs * len(rows))
        return cost.total([cost.trunk_cost(side, n_tokens), trained])
