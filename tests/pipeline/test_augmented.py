"""The strong model on easy labels and their hardest perturbed copies: which copies there are, and which it learns."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from ensemw2s.config import AugmentConfig, parse_config
from ensemw2s.core.difficulty import hardest
from ensemw2s.data.alike import alike
from ensemw2s.data.augment import easy_copies
from ensemw2s.data.load import load_task
from ensemw2s.data.splits import make_split
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.forms.prepared import Labels
from ensemw2s.pipeline.prepare import form_of, prepare
from ensemw2s.pipeline.seeds.augment import augmented
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.pipeline.seeds.students import train_students
from ensemw2s.results.conditions import AUGMENTED, STRONG_ON_EASY
from ensemw2s.storage.store import Store
from tiny_run import merged, tiny_words_tree

AUGMENT = {"augment": {"perturb": ["typos", "distractor"], "share": 0.1}}
SMALL = {"seeds": [0], "ensemble": {"n_rounds": 1, "methods": ["single"], "prior": "chance"}}


def tree_of(form: str, tiny_config, task_file) -> dict:
    tree = tiny_words_tree(task_file) if form == "words" else tiny_config().model_dump()
    tree = merged(tree, SMALL)
    tree["students"]["recipes"] = tree["students"]["recipes"][:1]
    return tree


def test_of_each_kind_the_share_with_the_highest_loss_is_chosen_at_least_one():
    losses = torch.tensor([0.1, 3.0, 2.0, 0.5, 9.0, 7.0, 8.0])
    kinds = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    assert hardest(losses, kinds, 0.5).tolist() == [1, 2, 4, 6]
    assert hardest(losses, kinds, 0.01).tolist() == [1, 4]
    assert hardest(torch.ones(4), torch.zeros(4, dtype=torch.long), 0.5).tolist() == [0, 1]
    assert not len(hardest(torch.empty(0), torch.empty(0, dtype=torch.long), 0.5))


def test_copies_are_of_training_examples_like_no_other_prompt_and_read_no_sealed_answer(tiny_config):
    config = tiny_config()
    task, every = load_task(config.task), AugmentConfig(perturb=("typos", "lowercase", "accents", "distractor"))
    split = make_split(task, config.split)
    draw = split.draw(0)
    copies = easy_copies(config.task, split, draw, every)
    assert set(copies.rows.tolist()) == set(draw.easy_train.tolist())
    assert set(copies.kinds.tolist()) == {0, 1, 3}  # accents change none of these questions
    own = {alike(e.prompt): row for row, e in enumerate(split.examples)}
    for copy, row in zip(copies.examples, copies.rows.tolist(), strict=True):
        assert copy.prompt != split.examples[row].prompt
        assert own.get(alike(copy.prompt), row) == row
        assert copy.answer == split.easy_answers[row]
    whose: dict[str, set[int]] = {}
    for copy, row in zip(copies.examples, copies.rows.tolist(), strict=True):
        whose.setdefault(alike(copy.prompt), set()).add(row)
    assert all(len(rows) == 1 for rows in whose.values())
    flipped = {e.id: {"yes": "no", "no": "yes"}[str(e.answer)] for e in task.examples}
    sealed = {e.id for e in split.examples if e.answer is None}
    others = tuple(replace(e, answer=flipped[e.id]) if e.id in sealed else e for e in task.examples)
    again = make_split(replace(task, examples=others), config.split)
    assert easy_copies(config.task, again, again.draw(0), every).examples == copies.examples


def trained_in(tree, store: Store) -> SeedWork:
    work = SeedWork(prepare(parse_config(tree), store, lambda model, n: None), store, 0)
    for units in (work.experts(), work.label(), train_students(work)):
        list(units)
    return work


@pytest.mark.parametrize("form", ["classes", "words"])
def test_a_run_learns_the_hardest_copies_resumes_and_trains_nothing_else(
    form, tiny_config, task_file, tmp_path, monkeypatch
):
    tree, store = tree_of(form, tiny_config, task_file), Store(tmp_path / "store")
    plain = trained_in(tree, store)
    students = {outcome.key for outcome in plain.outcomes.values() if outcome.key}
    made, memo = list[str](), Store.memo

    def dies(self, kind, key, compute):
        artifact = memo(self, kind, key, compute)
        if kind == "students" and key not in students:
            made.append(key)
            if len(made) == 1:
                raise KeyboardInterrupt
        return artifact

    monkeypatch.setattr(Store, "memo", dies)
    tree = merged(tree, {"students": AUGMENT})
    with pytest.raises(KeyboardInterrupt):
        trained_in(tree, store)
    with monkeypatch.context() as patch:
        patch.setattr("ensemw2s.forms.classification.strong.students.train", None)  # nothing is left to be trained
        patch.setattr("ensemw2s.forms.generation.students.train_answers", None)
        work = trained_in(tree, Store(tmp_path / "store"))
    assert set(made) == {work.outcomes[AUGMENTED].key}
    for condition, outcome in plain.outcomes.items():
        assert (work.outcomes[condition].key, work.outcomes[condition].cost) == (outcome.key, outcome.cost)
    assert work.outcomes[AUGMENTED].cost.flops > 2 * work.outcomes[STRONG_ON_EASY].cost.flops
    _check_learned(work, form)


def _check_learned(work: SeedWork, form: str) -> None:
    """Every copy that is learned has a higher loss than each of its kind that is not; and its own true answer."""
    on_easy, split, n = work.outcomes[STRONG_ON_EASY], work.prepared.split, len(work.prepared.split.examples)
    copies = easy_copies(work.config.task, split, work.context.draw, work.config.students.augment)
    answers = [split.easy_answers[row] for row in copies.rows.tolist()]
    classes = torch.tensor([split.choices.index(a) for a in answers]) if form == "classes" else tuple(answers)
    every = Labels(n + torch.arange(len(answers)), classes)
    losses, _ = form_of(work.prepared.on(copies.laid_behind(split))).students.losses(
        work.context, on_easy.voters, every
    )
    learner, training_set, _ = augmented(work, on_easy)
    rows = training_set.supervision.rows
    n_easy = len(work.context.draw.easy_train)
    assert torch.equal(rows[:n_easy], work.context.draw.easy_train)
    if form == "classes":
        chosen = rows[n_easy:] - n
        assert torch.equal(training_set.supervision.targets.soft[n_easy:].argmax(-1), classes[chosen])
    else:
        ids = learner.labels(work.context, every).answers.ids
        chosen = torch.tensor([ids.index(training_set.supervision.answers.ids[row]) for row in rows[n_easy:].tolist()])
    assert Counter(copies.kinds[chosen].tolist()) == {
        kind: max(1, round(0.1 * n_of)) for kind, n_of in Counter(copies.kinds.tolist()).items()
    }
    left = torch.ones(len(answers), dtype=torch.bool).index_fill(0, chosen, False)
    for kind in (0, 1):
        own = copies.kinds == kind
        assert losses[own & ~left].min() >= losses[own & left].max()


def test_without_a_copy_it_is_strong_on_easy(tiny_config, tmp_path):
    config = tiny_config(**merged(SMALL, {"students": {"recipes": [{}], "augment": {"perturb": ["accents"]}}}))
    work = trained_in(config.model_dump(), Store(tmp_path / "store"))
    assert work.outcomes[AUGMENTED].key == work.outcomes[STRONG_ON_EASY].key
    assert work.outcomes[AUGMENTED].cost == work.outcomes[STRONG_ON_EASY].cost


def test_what_cannot_be_augmented_is_refused(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match=r"students\.augment\.share"):
        tiny_config(students={"augment": {"share": 0}})
    with pytest.raises(ConfigError, match="there is no perturbation 'tipos'"):
        tiny_config(students={"augment": {"perturb": ["tipos"]}})
    words = {"weak": {"adapter": "lora"}, "strong": {"adapter": "lora"}}
    words["students"] = {"recipes": [{"labels": "hard"}], "augment": {}}
    with pytest.raises(ConfigError, match=r"students\.augment\.perturb: typos may change the answer of a reasoning"):
        parse_config(words | {"task": {"name": "reasoning"}})
    config = tiny_config(**merged(SMALL, {"students": {"augment": {}}}))
    named = tiny_config(**merged(SMALL, {"students": {"augment": {"perturb_columns": ["questoin"]}}}))
    with pytest.raises(DataError, match=r"students\.augment\.perturb_columns: there is no column 'questoin'"):
        prepare(named, Store(tmp_path / "s"), lambda model, n: None)
    longest = prepare(tiny_config(**SMALL), Store(tmp_path / "s"), lambda model, n: None).strong.lengths.max()
    short = config.model_copy(
        update={n: getattr(config, n).model_copy(update={"max_length": int(longest)}) for n in ("weak", "strong")}
    )
    with pytest.raises(DataError, match=r"students\.augment\.perturb: copies of seed 0: example 'q\d+~typos'"):
        prepare(short, Store(tmp_path / "s"), lambda model, n: None)
