"""Literal types shared by settings, records and results; nothing here needs a tensor library."""

from typing import Literal

Method = Literal["single", "independent", "bagging", "boosting", "subspace", "layers"]
VIEWED: tuple[Method, ...] = ("subspace", "layers")
"""Methods whose members each read a part of the trunk's output: some dimensions, or one depth."""
Outcome = Literal["continue", "perfect", "no_better_than_prior"]
