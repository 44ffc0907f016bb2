"""Words that settings, records and results share; nothing here needs a tensor library."""

from typing import Literal

Method = Literal["single", "independent", "bagging", "boosting"]
Outcome = Literal["continue", "perfect", "no_better_than_prior"]
