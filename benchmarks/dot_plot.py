"""Dot plots with intervals as SVG, for pages that are read at any width, in light and dark.

Written by hand because a chart library measures its texts with the fonts of the machine: the same numbers would make
another file elsewhere, and a test compares the files. A picture is as wide as a phone, so nothing shrinks there.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ensemw2s.report.charts import LIGHT

WIDTH, EDGE = 460, 14
"""Of a picture and of its margin, in CSS pixels."""
SIZE, SMALL = 13.5, 12
"""Of letters."""
BESIDE = 20
"""Labels of at most so many letters stand beside their dots, longer ones above them."""
LETTER = 0.56
"""Mean width of a letter, in its size; a little more than any usual font has."""
DARK = {"--ink": "#e7e8ea", "--soft": "#a3a9b1", "--line": "#34383e", "--paper": "#16181b"}
"""As the report's page has them in dark mode."""


@dataclass(frozen=True)
class Dot:
    """A figure with its interval."""

    mean: float
    low: float
    high: float
    colour: str
    shape: str = "circle"
    """circle, ring or square."""


@dataclass(frozen=True)
class Line:
    """What stands at one height of the plot: several dots lie below one another."""

    label: str
    dots: Sequence[Dot]


@dataclass(frozen=True)
class Panel:
    lines: Sequence[Line]
    title: str = ""


@dataclass(frozen=True)
class Plot:
    """One picture.

    Args:
        axis: what the numbers are.
        legend: shape and meaning, where shapes have one.
        reference: value and name of a line to compare with.
    """

    title: str
    axis: str
    panels: Sequence[Panel]
    legend: Sequence[tuple[str, str]] = ()
    reference: tuple[float, str] | None = None
    is_log: bool = False

    def svg(self) -> str:
        """The picture as text."""
        return _Drawing(self).text()


class _Drawing:
    def __init__(self, plot: Plot):
        self.plot = plot
        self.parts: list[str] = []
        self.y = EDGE + 2.0
        lines = [line for panel in plot.panels for line in panel.lines]
        self.is_beside = max(len(line.label) for line in lines) <= BESIDE
        widest = max(len(line.label) for line in lines) * SMALL * LETTER if self.is_beside else 0
        self.left, self.right = EDGE + math.ceil(widest) + 8, WIDTH - EDGE - 8
        values = [v for line in lines for dot in line.dots for v in (dot.low, dot.high)]
        values += [plot.reference[0]] if plot.reference else []
        self.ticks = log_ticks(min(values), max(values)) if plot.is_log else ticks(min(values), max(values))
        self.low, self.high = self.ticks[0], self.ticks[-1]

    def text(self) -> str:
        for each in textwrap.wrap(self.plot.title, int((WIDTH - 2 * EDGE) / (SIZE * LETTER))):
            self._say(EDGE, each, SIZE, "b")
        for shape, meaning in self.plot.legend:
            self.y += 19
            self._mark(EDGE + 5, self.y - 4, Dot(0, 0, 0, "var", shape))
            self._put(EDGE + 17, self.y, meaning, SMALL, "s")
        self.y += 8
        if self.plot.reference:
            self.y += 14
            x, name = self._x(self.plot.reference[0]), self.plot.reference[1]
            half = len(name) * SMALL * LETTER / 2
            self._put(min(max(x, EDGE + half), WIDTH - EDGE - half), self.y, name, SMALL, "s", "middle")
        top, grid = self.y + 5, len(self.parts)
        for panel in self.plot.panels:
            if panel.title:
                self.y += 6 if panel is self.plot.panels[0] else 12
                self._say(EDGE, panel.title, SMALL, "b")
            for line in panel.lines:
                self._line(line)
        self.y += 8
        self.parts[grid:grid] = self._grid(top, self.y)
        self._axis()
        return self._page()

    def _say(self, x: float, text: str, size: float, kind: str) -> None:
        self.y += size + 3
        self._put(x, self.y, text, size, kind)

    def _put(self, x: float, y: float, text: str, size: float, kind: str, anchor: str = "start") -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
        self.parts.append(f'<text class="{kind}" {place}>{escape(text)}</text>')

    def _line(self, line: Line) -> None:
        if self.is_beside:
            self.y += 9 + 10 * len(line.dots)
            middle = self.y - 5 * (len(line.dots) - 1)
            self._put(self.left - 8, middle + 4, line.label, SMALL, "t", "end")
        else:
            self.y += 20
            self._put(EDGE, self.y, line.label, SIZE, "t")
            shown = " · ".join(self._number(dot.mean) for dot in line.dots)
            self._put(WIDTH - EDGE, self.y, shown, SMALL, "s", "end")
            self.y += 2 + 11 * len(line.dots)
        for i, dot in enumerate(line.dots):
            y = self.y - 10.5 * (len(line.dots) - 1 - i) - (0 if self.is_beside else 2)
            ends = f'x1="{self._x(dot.low):.1f}" x2="{self._x(dot.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"'
            self.parts.append(f'<line {ends} stroke="{dot.colour}" stroke-width="2" opacity=".75"/>')
            self._mark(self._x(dot.mean), y, dot)

    def _mark(self, x: float, y: float, dot: Dot) -> None:
        ink = 'class="k"' if dot.colour == "var" else f'fill="{dot.colour}" stroke="{dot.colour}"'
        if dot.shape == "ring":
            ink = 'class="r"' if dot.colour == "var" else f'class="p" stroke="{dot.colour}"'
        if dot.shape == "square":
            self.parts.append(f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" {ink}/>')
        else:
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.2" stroke-width="1.8" {ink}/>')

    def _grid(self, top: float, bottom: float) -> list[str]:
        found = [(tick, "g") for tick in self.ticks]
        if self.plot.reference:
            found.append((self.plot.reference[0], "f"))
        span = f'y1="{top:.1f}" y2="{bottom:.1f}"'
        return [f'<line class="{kind}" x1="{self._x(v):.1f}" x2="{self._x(v):.1f}" {span}/>' for v, kind in found]

    def _axis(self) -> None:
        self.y += 15
        for tick in self.ticks:
            self._put(self._x(tick), self.y, self._tick(tick), SMALL, "s", "middle")
        for each in textwrap.wrap(self.plot.axis, int((WIDTH - 2 * EDGE) / (SMALL * LETTER))):
            self._say(EDGE, each, SMALL, "s")
        self.y += EDGE

    def _x(self, value: float) -> float:
        low, high = self.low, self.high
        if self.plot.is_log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.left + (self.right - self.left) * (value - low) / (high - low)

    @property
    def _is_signed(self) -> bool:
        return self.plot.reference is not None and self.plot.reference[0] == 0.0

    def _number(self, value: float) -> str:
        if self.plot.is_log and value < 10:
            return f"{value:.2f}"
        return f"{value:+.1f}" if self._is_signed else f"{value:.1f}"

    def _tick(self, value: float) -> str:
        return f"+{value:g}" if self._is_signed and value > 0 else f"{value:g}"

    def _page(self) -> str:
        height = math.ceil(self.y)
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        head += f'viewBox="0 0 {WIDTH} {height}" role="img" font-family="system-ui, sans-serif">'
        paper = f'<rect class="p" width="{WIDTH}" height="{height}" rx="6"/>'
        dark = f"@media(prefers-color-scheme:dark){{{_style(DARK)}}}"
        fixed = "text{paint-order:stroke;stroke-width:3px}.b{font-weight:600}.f{stroke-dasharray:4 3}"
        style = f"<style>{fixed}{_style(LIGHT)}{dark}</style>"
        return "\n".join([head, f"<title>{escape(self.plot.title)}</title>", style, paper, *self.parts, "</svg>", ""])


def _style(colours: dict[str, str]) -> str:
    ink, soft, line, paper = (colours[name] for name in ("--ink", "--soft", "--line", "--paper"))
    return (
        f"text{{stroke:{paper}}}.t,.b,.k{{fill:{ink}}}.s{{fill:{soft}}}.p{{fill:{paper}}}.r{{fill:{paper};stroke:{ink}}}"
        f".g{{stroke:{line}}}.f{{stroke:{soft}}}"
    )


def ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers, the first and the last around the values.

    >>> ticks(-0.4, 6.3)
    [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """
    for step in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0):
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first <= 8:
            break
    return [step * i for i in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Of 1, 2 and 5 times a power of ten, the last at or below `low` to the first at or above `high`."""
    all_of_them = [m * 10.0**e for e in range(-3, 5) for m in (1, 2, 5)]
    first = max(i for i, v in enumerate(all_of_them) if v <= low)
    last = min(i for i, v in enumerate(all_of_them) if v >= high)
    return all_of_them[first : last + 1]
