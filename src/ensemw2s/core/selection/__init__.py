"""Selections by name. A new one is a frozen dataclass in a module of its own and a line here."""

from ensemw2s.core.selection.base import Evidence, Selection
from ensemw2s.core.selection.knowledge import SelfKnowledge
from ensemw2s.core.selection.scores import Agreement, All, Confidence, Neighbours, TopRho

__all__ = ["SELECTIONS", "Evidence", "Selection"]

SELECTIONS: dict[str, type[Selection]] = {
    "all": All,
    "confidence": Confidence,
    "agreement": Agreement,
    "neighbours": Neighbours,
    "top-rho": TopRho,
    "self-knowledge": SelfKnowledge,
}
