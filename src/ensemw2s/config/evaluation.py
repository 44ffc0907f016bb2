"""Settings of questions worded otherwise: as further tests, and as further examples to learn."""

from typing import Annotated

from pydantic import AfterValidator, Field

from ensemw2s.config.base import Fraction, Frozen
from ensemw2s.tables import PERTURBATIONS


def check_perturbations(names: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ValueError for a name that is in no table, or is there twice."""
    if unknown := [name for name in names if name not in PERTURBATIONS]:
        raise ValueError(f"there is no perturbation {unknown[0]!r}; choose among {', '.join(PERTURBATIONS)}")
    if len(set(names)) != len(names):
        raise ValueError(f"lists a perturbation twice: {list(names)}; name each once")
    return names


Perturbations = Annotated[tuple[str, ...], AfterValidator(check_perturbations)]
"""Names in the table of perturbations, each once."""


class EvaluationConfig(Frozen):
    perturb: Perturbations = ()
    """Also ask every row of the table the tests with their questions worded otherwise and their labels as they are:
    names in the table of perturbations, such as typos, lowercase, accents, spaces, punctuation, distractor, masked.
    Nothing is trained or chosen by them."""
    strength: Fraction = 0.1
    """typos, masked: the share of a question's words that are changed; above 0 at least one of them."""
    perturb_columns: tuple[str, ...] = ()
    """task files: columns of the prompt template that are perturbed; needed where it has several."""


class AugmentConfig(Frozen):
    perturb: Annotated[Perturbations, Field(min_length=1)] = ("typos", "distractor")
    """Of each easy training example a copy under each of these perturbations, with its label."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Of each perturbation's copies those that are learned: the ones with the highest loss under strong-on-easy."""
    strength: Fraction = 0.1
    """As `evaluation.strength`."""
    perturb_columns: tuple[str, ...] = ()
    """As `evaluation.perturb_columns`."""
