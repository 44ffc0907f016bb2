"""Terminals: what is shown there, whoever wrote it, is only shown."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ensemw2s.text import visible


class Screen(Console):
    """A console on which text is only text: it reads no markup and no names of emoji, and shows control characters."""

    def __init__(self, **settings: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything that is drawn comes through here, tables and progress bars, too."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text, keep="\n"))


def say(console: Console, text: str, *, label: str = "", style: str = "") -> None:
    """Print one line, whatever is in the text; a label of our own stands before it in that style."""
    line = Text.assemble((f"{label} ", style), visible(text)) if label else Text(visible(text), style)
    console.print(line, soft_wrap=True)
