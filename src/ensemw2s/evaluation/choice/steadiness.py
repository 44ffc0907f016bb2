"""How much a condition's answers to the unlabelled examples hang on which labelled examples were drawn.

Easy validation data cannot tell two models apart that are both right on nearly all of it, though one may guess on the
harder examples. Where the answers to these change from seed to seed they follow the draw and not the text. Agreement
of models that learned different draws estimates accuracy without labels (Jiang et al., Assessing Generalization of SGD
via Disagreement, ICLR 2022); Cohen's kappa takes off what two models agree on by preferring the same class.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from ensemw2s.evaluation.scored import VAL, ScoredSeed
from ensemw2s.results import Condition

LEVEL = 0.05
"""Of the sign test that tells two conditions apart."""


def can_tell_apart(seeds: Sequence[ScoredSeed], a: Condition, b: Condition) -> bool:
    """Whether one of two conditions is right more often on easy-val, by McNemar's exact test over all seeds' items."""
    right = [[seed.conditions[each].parts[VAL].right for each in (a, b)] for seed in seeds]
    wins = sum(int((one & ~other).sum()) for one, other in right)
    losses = sum(int((other & ~one).sum()) for one, other in right)
    return wins + losses > 0 and bool(binomtest(wins, wins + losses).pvalue < LEVEL)


def steadiness(seeds: Sequence[ScoredSeed], condition: Condition) -> float | None:
    """Mean over pairs of seeds of Cohen's kappa between their answers to the unlabelled examples that both drew.

    0 where a condition gives one answer alone. None where answers are no classes, or no two seeds share an example.
    """
    found = list[float]()
    for one, other in combinations(seeds, 2):
        mine, theirs = one.conditions[condition].hard_answers, other.conditions[condition].hard_answers
        if mine is None or theirs is None:
            return None
        _, i, k = np.intersect1d(one.hard_rows.numpy(), other.hard_rows.numpy(), return_indices=True)
        answers = mine.numpy()[i], theirs.numpy()[k]
        if len(i):
            alike = len(np.unique(np.concatenate(answers))) == 1
            found.append(0.0 if alike else float(cohen_kappa_score(*answers)))
    return sum(found) / len(found) if found else None
