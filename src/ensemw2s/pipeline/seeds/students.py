"""Every training of the strong model in one seed: baselines, a student per teacher and recipe, the ceiling."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from ensemw2s.config import Recipe
from ensemw2s.core.labels import Labelled
from ensemw2s.core.seeds import stream_seed
from ensemw2s.ensemble.methods import learning, methods_of_several
from ensemw2s.evaluation import costs
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.forms.lessons import LessonForm
from ensemw2s.forms.prepared import Labels
from ensemw2s.forms.students import Ballot, StudentForm
from ensemw2s.pipeline.seeds import auto
from ensemw2s.pipeline.seeds.augment import augmented
from ensemw2s.pipeline.seeds.seed_work import Outcome, SecondLesson, SeedWork
from ensemw2s.records import Expert
from ensemw2s.results import Condition, Cost
from ensemw2s.results.conditions import (
    AUGMENTED,
    BEST_OF_N,
    CEILING,
    SELF,
    STRONG_ON_EASY,
    ZERO_SHOT,
    chosen_of_n,
    ensemble,
    student,
)
from ensemw2s.storage.store import Artifact, artifact_key
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.training_end import TrainingEnd

STUDENT_VERSION = 4
ON_THE_WAY = Recipe(labels="hard")
"""How generated answers are learned by the students that a label model asks; classes are learned soft."""


def train_students(work: SeedWork) -> Iterator[Condition]:
    """Train every student of every teacher, the baselines and, where it can be, the ceiling; yields each."""
    form, context, config = work.form.students, work.context, work.config
    for condition, rival in form.rivals(context).items():
        work.outcomes[condition] = Outcome(*rival)
    if (untrained := form.zero_shot(context)) is not None:
        work.outcomes[ZERO_SHOT] = Outcome(*untrained)
    for condition, (voters, spent_on_reading) in form.in_context(context, work.labels).items():
        labelled_by = work.outcomes[ensemble(str(condition.method))]
        cost = costs.total([labelled_by.cost, spent_on_reading])
        work.outcomes[condition] = Outcome(voters, cost, labelled_by.n_experts)
    on_easy = _student(work, STRONG_ON_EASY, lambda known: form.on_easy(context, known), NOTHING)
    yield STRONG_ON_EASY
    if config.students.augment is not None:
        of_copies, training_set, spent_on_copies = augmented(work, on_easy)
        _student(work, AUGMENTED, lambda _: training_set, spent_on_copies, learns_labels=False, learner=of_copies)
        yield AUGMENTED
    work.labels[SELF], spent_on_self = form.self_labels(context, on_easy.voters)
    spent = {SELF: costs.total([on_easy.cost, spent_on_self])}
    spent |= {method: work.outcomes[ensemble(method)].cost for method in work.ensembles}
    first = work.outcomes[ensemble(config.ensemble.methods[0])]
    work.judges = form.judges(context, first.voters, on_easy.voters)
    for teacher, recipe in config.students.pairs(config.ensemble.methods):
        ballot = form.ballot(context, work.labels, teacher, recipe, on_easy.voters, work.judges)
        labelled, on_the_way, ends = _labelled(work, ballot, recipe)
        answers = ballot.answers(labelled)
        select = recipe.make_selection()
        labelled = select(ballot.answered(labelled), ballot.evidence(reads_own=select.reads_own))
        if select.reads_own and teacher != SELF:
            on_the_way.append(spent[SELF])
        n_experts = None if teacher == SELF else work.outcomes[ensemble(teacher)].n_experts
        label_cost = costs.total([spent[teacher], *on_the_way])
        condition = student(teacher, recipe.name)
        _student(
            work,
            condition,
            partial(_training_set, ballot, labelled, recipe),
            label_cost,
            n_experts=n_experts,
            on_the_way=ends,
            learns_labels=recipe.with_easy,
            labels=answers,
            second=_second_lesson(work, ballot, labelled, recipe, student(teacher, recipe.name)),
        )
        yield condition
    if config.judges.at_test:
        yield from _chosen_of_n(work)
    if config.students.method == "auto":
        auto.choose(work)
    sealed = work.prepared.split.sealed.get("hard_pool")
    if sealed is None:
        return  # nobody knows the true answers
    places = context.draw.hard_unlabelled - work.prepared.split.pools["hard_pool"].start
    truth = sealed.open("ceiling", places)
    _student(work, CEILING, lambda _: form.on_truth(context, truth), NOTHING, learns_labels=False)
    yield CEILING


def _chosen_of_n(work: SeedWork) -> Iterator[Condition]:
    """Strong-on-easy and the first recipe's students, of whose drawn answers judges or the majority choose one."""
    students, methods = work.config.students, work.config.ensemble.methods
    first = students.recipes[0]
    models = {STRONG_ON_EASY: (None, None)}
    models |= {student(t, r.name): (t, r.name) for t, r in students.pairs(methods) if r == first}
    for condition, of_whom in models.items():
        model = work.outcomes[condition]
        for kind, (voters, spent) in work.form.students.best_of_n(work.context, model.voters, work.judges).items():
            made = chosen_of_n(kind, *of_whom)
            is_judged = first.reads_judges and condition != STRONG_ON_EASY
            making = [work.judges.cost] if kind == BEST_OF_N and not is_judged else []
            work.outcomes[made] = Outcome(
                voters, costs.total([model.cost, spent, *making]), model.n_experts, ends=model.ends
            )
            yield made


def _training_set(ballot: Ballot, labelled: Labelled, recipe: Recipe, known: Labels | None) -> Any:
    return ballot.training_set(labelled, recipe, known=known)


def _labelled(work: SeedWork, ballot: Ballot, recipe: Recipe) -> tuple[Labelled, list[Cost], list[TrainingEnd | None]]:
    """What a recipe's label model makes of the votes; what each student on the way cost, and how its training ended."""
    spent: list[Cost] = []
    ends: list[TrainingEnd | None] = []
    how = ON_THE_WAY if work.config.is_generation else Recipe()

    def learn(labelled: Labelled) -> Tensor:
        training_set = ballot.training_set(labelled, how, on_the_way=True)
        key, artifact = trained(work, training_set)
        answers, asking = ballot.add(work.context, work.form.students.voters(training_set, artifact, key))
        ends.append(TrainingEnd.of(artifact.record))
        spent.extend([work.form.students.cost(training_set, artifact), asking])
        return answers

    labelled = recipe.make_label_model()(ballot.votes, learn)
    if recipe.labels_read_judges:
        spent.append(ballot.judging_cost())
    return labelled, spent, ends


def _student(
    work: SeedWork,
    condition: Condition,
    training_on: Callable[[Labels | None], Any],
    label_cost: Cost,
    *,
    n_experts: int | None = None,
    on_the_way: Sequence[TrainingEnd | None] = (),
    learns_labels: bool = True,
    labels: tuple[str, ...] | None = None,
    second: Callable[[Any], tuple[Any, Cost]] | None = None,
    learner: StudentForm | None = None,
) -> Outcome:
    """Train (or find) the student of a condition.

    Args:
        training_on: as in `Outcome`, as are `labels`.
        learns_labels: whether there are easy training examples among what it learns.
        second: given the student, its second lesson, and what making that cost.
        learner: the form that the training set is of, where that is not the run's own.
    """
    training_set = training_on(None)
    key, artifact = trained(work, training_set, learner)
    voters = work.form.students.voters(training_set, artifact, key)
    outcome = Outcome(
        voters,
        costs.total([label_cost, (learner or work.form.students).cost(training_set, artifact)]),
        n_experts,
        key,
        artifact.record,
        training_on if learns_labels else None,
        (*on_the_way, TrainingEnd.of(artifact.record)),
        labels,
    )
    if second is not None:
        outcome = _after(work, outcome, *second(voters))
    work.outcomes[condition] = outcome
    return outcome


def _second_lesson(
    work: SeedWork, ballot: Ballot, labelled: Labelled, recipe: Recipe, condition: Condition
) -> Callable[[Any], tuple[Any, Cost]] | None:
    """As `second` of `_student`."""
    if recipe.then is None:
        return None
    assert work.form.lessons is not None, "the configuration was checked"
    by = STRONG_ON_EASY if condition.teacher == SELF else ensemble(str(condition.teacher))
    teacher = work.outcomes[by].voters
    return partial(work.form.lessons.prepare, ballot, labelled, recipe, condition.key, teacher=teacher)


def _after(work: SeedWork, outcome: Outcome, lesson: Any, drawing: Cost) -> Outcome:
    """What comes out after a second lesson; the student as it was, where that has no pair or was no better."""
    form = work.form.lessons
    assert form is not None
    if not lesson.n_pairs:
        return replace(outcome, cost=costs.total([outcome.cost, drawing]), second=SecondLesson(lesson, None))
    key, artifact = trained(work, lesson, form)
    second, end = SecondLesson(lesson, artifact.record), TrainingEnd.of(artifact.record)
    if end is not None:  # its losses are of another kind than those of the first lesson: notes say how it went
        end = replace(end, training_loss=None, validation_loss=None)
    return replace(
        outcome,
        voters=form.voters(lesson, artifact, key) if second.is_kept else outcome.voters,
        cost=costs.total([outcome.cost, drawing, form.cost(lesson, artifact)]),
        ends=(*outcome.ends, end) if second.is_kept else outcome.ends,
        second=second,
    )


def student_stream(work: SeedWork) -> int:
    """Random stream of the seed's students, one for all conditions: they differ by their labels alone."""
    return stream_seed(work.seed, "student")


def weak_start(work: SeedWork) -> Mapping[str, Expert]:
    """The experts that the seed's students start from, by their keys; none where they start as the pretrained model."""
    strong = work.config.strong
    if strong.lora_start != "weak":
        return {}
    made = work.ensembles[methods_of_several(learning(work.config.ensemble))[0]]
    return dict(zip(made.keys[: strong.lora_experts], made.experts, strict=False))


def trained(work: SeedWork, training_set: Any, form: StudentForm | LessonForm | None = None) -> tuple[str, Artifact]:
    """A student of this training set, or after this lesson, from the store or trained, and its key there."""
    role, seed = work.prepared.strong, student_stream(work)
    form = form or work.form.students
    experts = {} if form is work.form.lessons else weak_start(work)  # a lesson begins with its student
    fit = partial(form.fit, start=[expert.state for expert in experts.values()]) if experts else form.fit
    key = artifact_key(
        STUDENT_VERSION,
        {
            **form.deciding(training_set),
            "strong": role.fingerprint,
            "training": training_set.training.deciding,
            "stream": seed,
            **({"start": list(experts)} if experts else {}),
        },
    )
    checkpointer = Checkpointer(work.context.store, key)
    # A head is trained in seconds: it is not worth a snapshot.
    kept = None if role.config.adapter == "head" else checkpointer
    artifact = work.context.memo("students", key, lambda: fit(training_set, seed=seed, checkpointer=kept))
    checkpointer.clear()
    return key, artifact
