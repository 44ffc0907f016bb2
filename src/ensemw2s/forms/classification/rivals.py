"""Trivial rivals of every trained model: the commonest class, and TF-IDF with logistic regression.

A tool that is worse than these is not worth its cost, so every table shows them.
"""

import torch
from torch.nn.functional import one_hot

from ensemw2s.ensemble.learners.tfidf import TfidfFitted, TfidfLearner, TfidfModel
from ensemw2s.evaluation.scored import HARD
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.weak.asked import prompts_of
from ensemw2s.forms.classification.weak.experts import ClassVoters
from ensemw2s.forms.prepared import SeedContext, rows_of
from ensemw2s.pictures import has_picture
from ensemw2s.results import Condition, Cost
from ensemw2s.results.conditions import MAJORITY, TFIDF, TFIDF_SELF_TRAINED
from ensemw2s.train.samples import Validation


def class_rivals(prepared: ClassPrepared, seed: SeedContext) -> dict[Condition, tuple[ClassVoters, Cost]]:
    """What the trivial rivals of one seed say of every part, and what they cost; of pictures the commonest class."""
    easy, hard, n_classes = seed.draw.easy_train, seed.draw.hard_unlabelled, prepared.n_classes
    labels = prepared.split.easy_labels[easy]
    rows = rows_of(prepared, seed) | {HARD: hard}
    share = (torch.bincount(labels, minlength=n_classes) + 1.0).log().log_softmax(-1)
    majority = ClassVoters(
        {part: share.expand(len(each), -1) for part, each in rows.items()},
        ask=lambda prepared, seed, of: share.expand(len(of), -1),
    )
    if any(has_picture(example.prompt) for example in prepared.split.examples):
        return {MAJORITY: (majority, _cost(0.0))}  # a picture has no words to weigh
    val = Validation(seed.draw.easy_val, prepared.split.easy_labels[seed.draw.easy_val])
    learner = TfidfLearner(prepared.words(seed), val)
    on_easy = learner.fit(easy, one_hot(labels, n_classes).float(), torch.ones(len(easy)), seed=0)
    guessed, joined = on_easy.log_probs(hard).argmax(-1), torch.cat([easy, hard])
    target = one_hot(torch.cat([labels, guessed]), n_classes).float()
    self_trained = learner.fit(joined, target, torch.ones(len(joined)), seed=0)

    def voters(fitted: TfidfFitted) -> ClassVoters:
        model = TfidfModel(fitted.state(), n_classes)
        return ClassVoters(
            {part: fitted.log_probs(each) for part, each in rows.items()},
            ask=lambda prepared, seed, of: model.log_probs(prompts_of(prepared, of)),
        )

    return {
        MAJORITY: (majority, _cost(0.0)),
        TFIDF: (voters(on_easy), _cost(on_easy.flops)),
        TFIDF_SELF_TRAINED: (voters(self_trained), _cost(on_easy.flops + self_trained.flops)),
    }


def _cost(flops: float) -> Cost:
    return Cost(training_tokens=0, expert_evaluations=0, flops=flops)
