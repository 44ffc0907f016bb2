"""Label models by name. A new one is a frozen dataclass in a module of its own and a line here."""

from ensemw2s.core.labels.base import Labelled, LabelModel, Learn, Votes, everything
from ensemw2s.core.labels.confusion import DawidSkene, Glws
from ensemw2s.core.labels.students import CoSupervised, NextRound, Raven
from ensemw2s.core.labels.votes import Alpha, Majority, Vote

__all__ = ["LABEL_MODELS", "LabelModel", "Labelled", "Learn", "Votes", "everything"]

LABEL_MODELS: dict[str, type[LabelModel]] = {
    "vote": Vote,
    "majority": Majority,
    "alpha": Alpha,
    "dawid-skene": DawidSkene,
    "glws": Glws,
    "raven": Raven,
    "co-supervised": CoSupervised,
    "next-round": NextRound,
}
