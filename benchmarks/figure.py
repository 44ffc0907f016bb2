"""A dot plot of some rows of a finished run, with their intervals, for the README and the docs.

python benchmarks/figure.py runs/sentiment-pool docs/figures/sentiment.svg \
  "majority=commonest class" "strong_on_easy=strong model, easy labels alone" ...
"""

import sys
from pathlib import Path

import altair as alt

from ensemw2s.pipeline.run_folder import read_results
from ensemw2s.report.charts import PALETTE

GREY, BLUE = "#6a6a6a", PALETTE[0]
RECOMMENDED, OTHER = "chosen on easy validation data", "others"


def main(run_dir: Path, output: Path, named: list[str]) -> None:
    results = read_results(run_dir)
    rows = []
    for each in named:
        key, _, label = each.partition("=")
        interval = results.row(key).parts["ood_test"]["accuracy"].interval
        percent = {name: 100 * getattr(interval, name) for name in ("mean", "low", "high")}
        kind = RECOMMENDED if key == results.recommendation.row else OTHER
        rows.append({"row": label, "kind": kind, "shown": f"{percent['mean']:.1f}"} | percent)
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("row:N", sort=[row["row"] for row in rows], title=None, axis=alt.Axis(labelLimit=400)),
        color=alt.Color(
            "kind:N",
            scale=alt.Scale(domain=[RECOMMENDED, OTHER], range=[BLUE, GREY]),
            legend=alt.Legend(orient="bottom", title=None, labelLimit=0, columnPadding=30),
        ),
    )
    low = 5 * int(min(row["low"] for row in rows) / 5)
    x = alt.Scale(domain=[low, 5 * int(max(row["high"] for row in rows) / 5 + 1)])
    title = f"right answers on the hard test, % (mean of {len(results.seeds)} seeds, 95% interval)"
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=x, title=title), x2="high:Q")
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(x="mean:Q")
    text = base.mark_text(dy=-11, fontSize=11).encode(x="mean:Q", text="shown:N")
    chart = (lines + dots + text).properties(
        width=430, height=34 * len(rows), background="white", padding={"left": 60, "right": 24, "top": 24, "bottom": 16}
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    chart.configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", grid=True).save(output)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
