"""What all records of figures share."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    # JSON has no infinite numbers; as null they could not be read again.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings")


class Interval(Record):
    """A mean with its 95% interval over seeds and items."""

    mean: float
    low: float
    high: float
    method: str
    """`crossed bootstrap`, `student-t` (the wider of the two below 10 seeds) or `items only` for one seed."""


class Figure(Record):
    """One metric of one row on one part: a value per seed, in the order of `Results.seeds`, and the interval."""

    per_seed: tuple[float, ...]
    interval: Interval
    over_items: Interval | None = None
    """Shares on a test: the interval over its items alone, with the seeds as they are."""


class Cost(Record):
    """Logical cost, the same on every machine; mean over seeds."""

    training_tokens: float
    """Tokens read in training, as if no trunk had been cached."""
    expert_evaluations: float
    """Expert-times-example forward passes."""
    flops: float
    """Multiply-adds times two, with the cached trunk counted once."""
