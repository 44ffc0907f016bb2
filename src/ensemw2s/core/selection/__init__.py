"""Selections. Each is a frozen dataclass; `ensemw2s.tables.SELECTIONS` has them by name."""

from ensemw2s.core.selection.base import Evidence, Selection

__all__ = ["Evidence", "Selection"]
