"""Words that settings, records and results share; nothing here needs a tensor library."""

from typing import Literal

Method = Literal["single", "independent", "bagging", "boosting", "subspace", "layers"]
VIEWED: tuple[Method, ...] = ("subspace", "layers")
"""Methods whose members each read a part of what the trunk gives: one pooled feature, or one depth."""
Outcome = Literal["continue", "perfect", "no_better_than_prior"]
