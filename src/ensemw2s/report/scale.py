"""Intervals drawn in the cells of a table, on one scale, and its axis below them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ensemw2s.results import Interval

WIDTH, MARGIN = 150, 12
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
MOST_TICKS = 5


@dataclass(frozen=True)
class Scale:
    """From figures to places in a drawing that is WIDTH wide."""

    low: float
    high: float

    @classmethod
    def of(cls, intervals: Sequence[Interval]) -> "Scale":
        """One on which all of them have room."""
        return cls(min(each.low for each in intervals), max(each.high for each in intervals))

    def place(self, value: float) -> float:
        """Where a figure stands."""
        span = (self.high - self.low) or 1.0
        return round(MARGIN + (WIDTH - 2 * MARGIN) * (value - self.low) / span, 1)

    @property
    def ticks(self) -> list[float]:
        """At most MOST_TICKS round figures."""
        for step in STEPS:
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first < MOST_TICKS:
                return [step * n for n in range(first, last + 1)]
        return [self.low, self.high]

    def bar(self, interval: Interval, colour: str) -> Markup:
        """An interval as a line and a dot."""
        a, m, b = map(self.place, (interval.low, interval.mean, interval.high))
        lines = "".join(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="16"/>' for x in map(self.place, self.ticks))
        return Markup(
            f'<svg class="bar" viewBox="0 0 {WIDTH} 16" aria-hidden="true">{lines}<g stroke="{colour}" fill="{colour}">'
            f'<line x1="{a}" x2="{b}" y1="8" y2="8"/><circle cx="{m}" cy="8" r="3.4"/></g></svg>'
        )

    @property
    def axis(self) -> Markup:
        """The ticks with their figures, for the table's foot."""
        ticks = "".join(
            f'<g class="{"odd" if n % 2 else "even"}"><line class="grid" x1="{x}" x2="{x}" y1="0" y2="4"/>'
            f'<text x="{x}" y="14" text-anchor="middle">{100 * tick:.3g}</text></g>'
            for n, (tick, x) in enumerate((tick, self.place(tick)) for tick in self.ticks)
        )
        return Markup(
            f'<svg class="bar axis" viewBox="0 0 {WIDTH} 16" role="img" aria-label="axis, in percent">{ticks}</svg>'
        )
