"""Parts shared by all figures: colours, axes, and a line per seed under the mean."""

from typing import Any

import altair as alt

# The palette of Okabe and Ito, distinguishable with common colour vision deficiencies.
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999"]
PARTS = {"easy_val": "easy-val", "id_test": "ID", "ood_test": "OOD"}
PERCENT = alt.Axis(format=".0%", tickCount=5)
Spec = dict[str, Any]


def chart(rows: list[dict[str, Any]], **size: Any) -> Any:
    """A chart of these rows, as wide as its container."""
    return alt.Chart(alt.Data(values=rows)).properties(width="container", **size)


def colour(field: str, **more: Any) -> alt.Color:
    """Colour by a nominal field, with the legend below the chart."""
    legend = alt.Legend(title=None, orient="bottom", symbolType="circle", symbolOpacity=1, symbolStrokeWidth=0)
    return alt.Color(field, type="nominal", sort=None, scale=alt.Scale(range=PALETTE), legend=legend, **more)


def seeds_and_mean(base: Any, field: str) -> Any:
    """A faint line per seed under the mean over seeds."""
    return base.mark_line(strokeWidth=0.8, opacity=0.22).encode(detail="seed:N") + base.mark_line(
        strokeWidth=2, point=alt.OverlayMarkDef(size=22)
    ).encode(y=f"mean({field}):Q")
