"""The pictures of the documentation show what its tables say, and say it to those who do not see them, too."""

import re
from pathlib import Path

import pytest

from ensemw2s.report.charts import GREY
from figure import FIGURES, drawn
from page_tables import ROOT, dot

IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]*figures/[^)]*)\)")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DRAWN_BY_HAND = {"method"}


@pytest.fixture(scope="module")
def pictures() -> dict[Path, str]:
    return drawn()


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_is_that_of_its_page_s_table(name, pictures):
    path = ROOT / "docs" / "figures" / f"{name}.svg"
    assert path.read_text(encoding="utf-8") == pictures[path], "draw it anew: python benchmarks/figure.py"


def test_every_picture_is_drawn_and_shown_with_a_text():
    shown = set()
    for page in PAGES:
        for text, place in IMAGE.findall(page.read_text(encoding="utf-8")):
            assert len(text) > 30, f"{page}: the picture {place} needs a text that says what it shows"
            assert (page.parent / place).is_file()
            shown.add(Path(place).stem)
    files = {path.stem for path in (ROOT / "docs" / "figures").glob("*.svg")}
    assert shown == files == set(FIGURES) | DRAWN_BY_HAND


def test_a_cell_without_a_figure_is_named():
    with pytest.raises(SystemExit, match="'undefined' has no figure"):
        dot("undefined", GREY)


def test_every_figure_of_the_readme_stands_in_a_page():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES[1:])
    readme = re.findall(r"\[[-+]\d+\.\d, [-+]\d+\.\d\]", PAGES[0].read_text(encoding="utf-8"))
    assert len(readme) >= 5
    assert all(interval in pages for interval in readme)
