"""The figures of docs/methods, from planted truths: what label models, selections, mixtures and routers were worth."""

from dot_plot import Line, Panel, Plot
from ensemw2s.report.charts import COLOURS
from page_tables import colour_of, dot, table

PLANTS = ("independent", "correlated", "systematic", "uneven", "twins", "biased")
ABOVE_VOTE = "points of accuracy of the student above that of vote's; six seeds, 95% intervals"


def label_models() -> Plot:
    return _on_plants("Label models, by how the members err", "vote", "## Label models")


def selections() -> Plot:
    return _on_plants("Selections, by how the members err", "all", "## Selections")


def _on_plants(title: str, without: str, after: str) -> Plot:
    found = table("docs/methods/README.md", "name | independent", after)
    rows = [(name, cells) for name, cells in found.items() if name != without]
    panels = [
        Panel([Line(name, [dot(cells[i], COLOURS["independent"])]) for name, cells in rows], plant)
        for i, plant in enumerate(PLANTS)
    ]
    return Plot(title, ABOVE_VOTE, panels, reference=(0.0, "vote, all labels"))


def easy_and_pseudo() -> Plot:
    found = table("docs/methods/easy-and-pseudo.md", "student | independent")
    names = [name for name in found if name != "pseudo-labels only"]
    alone = ("strong on easy", "self-training")
    colours = {name: colour_of(name) if name in alone else COLOURS["independent"] for name in names}
    panels = [
        Panel([Line(name.replace("both, ", "+ "), [dot(found[name][i], colours[name])]) for name in names], plant)
        for i, plant in enumerate(("independent errors", "correlated errors", "systematic errors"))
    ]
    axis = "points of accuracy above the student of the pseudo-labels alone; twelve seeds, 95% intervals"
    return Plot("Easy labels beside pseudo-labels", axis, panels, reference=(0.0, "pseudo-labels only"))


def routing() -> Plot:
    found = table("docs/methods/routing.md", "| independent errors")
    panels = [
        Panel([Line(name, [dot(cells[i], COLOURS["independent"])]) for name, cells in found.items()], plant)
        for i, plant in enumerate(("independent errors", "correlated errors", "systematic errors", "uneven members"))
    ]
    axis = "right labels, %, when people answer a fifth of the items; twelve seeds, 95% intervals"
    return Plot("Whom to ask a person about", axis, panels)
