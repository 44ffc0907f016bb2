"""The third stage in words: a student of every label set, the baselines and the ceiling."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import Recipe, canonical_hash
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.errors import DataError
from ensemw2s.experiment.store import Artifact, artifact_key
from ensemw2s.experiment.students import CEILING, SELF, STRONG_ON_EASY, mixture, student_key
from ensemw2s.experiment.words.cost import NOTHING, total, training_cost
from ensemw2s.experiment.words.labels import pseudo_answers
from ensemw2s.experiment.words.prepare import join, joined_inputs
from ensemw2s.experiment.words.work import AnswerWork, PseudoAnswers
from ensemw2s.models.adapters import n_trainable, owned_state
from ensemw2s.results import Cost
from ensemw2s.train.answers import AnswerSupervision, train_answers
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.types import AnswerTokens, Inputs

STUDENT_VERSION = 2


def train_students(work: AnswerWork) -> Iterator[None]:
    """Train every student of every teacher, the baselines and, where it can be, the ceiling; yields after each."""
    config, side = work.prepared.config, work.prepared.strong
    easy, hard, answers = work.draw.easy_train, work.draw.hard_unlabelled, work.easy["strong"]
    easy_inputs = side.open(answers.read)
    ones = torch.ones(len(answers.targets))
    _student(work, STRONG_ON_EASY, easy_inputs, AnswerSupervision(answers, easy, ones), NOTHING)
    yield
    work.outcome.pseudo[SELF] = pseudo_answers(work, work.outcome.voters[STRONG_ON_EASY], ["strong_on_easy"])
    spent = {SELF: work.outcome.cost[STRONG_ON_EASY]} | {m: work.outcome.cost[m] for m in work.outcome.ensembles}
    names = [work.prepared.names[i] for i in hard.tolist()]
    for teacher in (SELF, *work.outcome.ensembles):
        pseudo = work.outcome.pseudo[teacher]
        # A question that nobody answered has nothing to be learned from.
        answered = torch.tensor([i for i, t in enumerate(pseudo.texts) if t.strip()], dtype=torch.long)
        if not len(answered):
            raise DataError(
                f"seed {work.seed}: the {teacher} ensemble answers none of the {len(hard)} unlabelled questions; "
                "train it longer (expert_training), or look at generation.decoding.stop"
            )
        given = side.answers(hard[answered], [pseudo.texts[i].strip() for i in answered], [names[i] for i in answered])
        both = join(answers, given)
        inputs = joined_inputs(easy_inputs, side.open(given.read))
        for recipe in config.students.recipes:
            difficulty = work.prepared.split.difficulty
            of_each = torch.cat([difficulty[: len(answers.ids)], difficulty[hard[answered]]])
            supervision = _lesson(recipe, both, of_each, easy, pseudo, answered)
            key = student_key(teacher, recipe)
            _student(work, key, inputs, supervision, spent[teacher])
            if teacher in work.outcome.n_experts:
                work.outcome.n_experts[key] = work.outcome.n_experts[teacher]
            yield
    sealed = work.prepared.split.sealed.get("hard_pool")
    if sealed is None:
        return  # nobody knows the true answers
    truth = sealed.open("ceiling")[hard - work.prepared.split.pools["hard_pool"].start]
    given = side.answers(hard, [work.prepared.task.choices[k] for k in truth.tolist()], names)
    lesson = AnswerSupervision(given, torch.arange(len(hard)), torch.ones(len(given.targets)))
    _student(work, CEILING, side.open(given.read), lesson, NOTHING)
    yield


def _student(work: AnswerWork, row: str, inputs: Inputs, lesson: AnswerSupervision, label_cost: Cost) -> None:
    """Train (or find) one student."""
    side, training = work.prepared.strong, work.prepared.config.student_training
    seed = stream_seed(work.seed, "student")  # one stream for all rows: they differ by their labels alone
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
        checkpointer = Checkpointer(work.store, key)
        train_answers(module, inputs, lesson, training, seed=seed, checkpointer=checkpointer)
        state = {f"state/{name}": t for name, t in owned_state(module).items()}
        return Artifact(state, {"owned": n_trainable(module)})

    found = work.memo("students", key, compute)
    Checkpointer(work.store, key).clear()
    state = {n.removeprefix("state/"): t for n, t in found.tensors.items()}
    work.set_voters(row, side, (key,), [state], torch.ones(1))
    tokens = training.epochs * int(inputs.lengths[rows].sum())
    trained = training_cost(side, state, tokens, training.epochs * len(answers.tokens_of(rows)))
    work.outcome.cost[row] = total([label_cost, trained])
    work.outcome.student_keys[row] = key


def _lesson(
    recipe: Recipe,
    both: AnswerTokens,
    difficulty: Float[Tensor, " rows"],
    easy: Int[Tensor, " easy"],
    pseudo: PseudoAnswers,
    answered: Int[Tensor, " answered"],
) -> AnswerSupervision:
    """What a recipe takes of the easy answers (first in `both`) and of the pseudo-answers (after the easy pool)."""
    n_easy_pool = len(both.ids) - len(answered)
    kept = (pseudo.agreement[answered] >= recipe.min_agreement).nonzero()[:, 0]
    if not len(kept):
        raise DataError(
            f"students.recipes: {recipe.name} keeps no answer, none has an agreement of {recipe.min_agreement:g}; "
            "lower min_agreement"
        )
    rows = torch.cat([easy, n_easy_pool + kept]) if recipe.with_easy else n_easy_pool + kept
    of_rows, pace = mixture(recipe, pseudo.confidence[answered][kept].float(), difficulty[rows])
    weights = torch.ones(len(both.targets))
    weights[both.tokens_of(rows)] = of_rows.repeat_interleave(both.offsets.diff()[rows])
    return AnswerSupervision(both, rows, weights, pace)
