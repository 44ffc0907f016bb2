"""What the strong model learns beside the easy examples: the hardest of their perturbed copies."""

from typing import Any

import torch

from ensemw2s.core.difficulty import hardest
from ensemw2s.data.augment import Copies, easy_copies
from ensemw2s.evaluation import costs
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.forms.prepared import Labels
from ensemw2s.forms.students import StudentForm
from ensemw2s.pipeline.prepare import form_of
from ensemw2s.pipeline.seeds.seed_work import Outcome, SeedWork
from ensemw2s.results import Cost


def augmented(work: SeedWork, on_easy: Outcome) -> tuple[StudentForm, Any, Cost]:
    """The form whose models read the copies, too, the training set, and the cost up to it.

    Args:
        on_easy: the strong model that learned the easy labels, under which the copies' losses are.
    """
    config, split, context = work.config, work.prepared.split, work.context
    augment = config.students.augment
    assert augment is not None, "asked for in the settings"
    copies = easy_copies(config.task, split, context.draw, augment)
    if not copies.examples:
        return work.form.students, work.form.students.on_easy(context), NOTHING
    assert work.prepared.on is not None, "prepared where examples are perturbed"
    form = form_of(work.prepared.on(copies.laid_behind(split))).students
    losses, spent = form.losses(context, on_easy.voters, _labelled(work, copies, torch.arange(len(copies.examples))))
    chosen = hardest(losses, copies.kinds, augment.share)
    training_set = form.on_easy(context, more=_labelled(work, copies, chosen))
    return form, training_set, costs.total([on_easy.cost, spent])


def _labelled(work: SeedWork, copies: Copies, which: torch.Tensor) -> Labels:
    """Some of the copies with their originals' true answers, as rows of the split that has the copies."""
    split, rows = work.prepared.split, copies.rows[which]
    answers = tuple(split.easy_answers[row] for row in rows.tolist())
    return Labels(len(split.examples) + which, answers if work.config.is_generation else split.easy_labels[rows])
