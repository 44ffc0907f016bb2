"""Label models. Each is a frozen dataclass; `ensemw2s.tables.LABEL_MODELS` has them by name."""

from ensemw2s.core.labels.base import Labelled, LabelModel, Learn, Votes, everything

__all__ = ["LabelModel", "Labelled", "Learn", "Votes", "everything"]
