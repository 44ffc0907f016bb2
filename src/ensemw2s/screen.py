"""Printing on terminals, without obeying markup or control characters in the text."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ensemw2s.text import visible


class Screen(Console):
    """A console that interprets no markup and no emoji names, and shows control characters as escapes."""

    def __init__(self, **settings: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **settings)
        # FORCE_COLOR, which a notebook sets for the commands that it starts, asks for colours and not for moving bars.
        self.is_interactive = self.is_interactive and (settings.get("force_terminal", False) or self.file.isatty())

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """All output passes here, including tables and progress bars."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text, keep="\n"))


def say(console: Console, text: str, *, label: str = "", style: str = "") -> None:
    """Print one line of text, after an optional label in a style of its own."""
    line = Text.assemble((f"{label} ", style), visible(text)) if label else Text(visible(text), style)
    console.print(line, soft_wrap=True)
