"""The page in a browser: drawn without an error, within its width, legible in light and dark mode."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from ensemw2s.report.page import write_report

CHROMIUM = shutil.which("chromium")
WIDTHS = (390, 768, 1400)
MEASURE = (Path(__file__).parent / "measure.html").read_text(encoding="utf-8")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium on the PATH"),
]


def dumped(address: str, mode: str, profile: Path, *flags: str) -> str:
    """A page's own document, once it has drawn itself, in light or dark mode."""
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--hide-scrollbars",
    ]
    command += [f"--user-data-dir={profile}", "--window-size=1500,1000", "--virtual-time-budget=30000"]
    command += [f"--blink-settings=preferredColorScheme={0 if mode == 'dark' else 1}", *flags]
    done = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def harness(page: str) -> str:
    """A page that measures another at each of WIDTHS; a window itself cannot be as narrow as a phone."""
    frames = "".join(f'<iframe src="{page}" style="width:{w}px;height:900px;border:0"></iframe>' for w in WIDTHS)
    return MEASURE.replace("FRAMES", frames)


def found_in(document: str) -> list[dict[str, Any]]:
    """What the measuring script found at each width."""
    found = re.search(r'<pre id="found">(.*?)</pre>', document, re.S)
    assert found, document[:500]
    return json.loads(unescape(found[1]))


def measured(page: Path, mode: str) -> list[dict[str, Any]]:
    """What the measuring script finds of a file."""
    place = page.with_name("harness.html")
    place.write_text(harness(page.name), encoding="utf-8")
    return found_in(dumped(place.as_uri(), mode, page.parent / "profile", "--allow-file-access-from-files"))


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_page_is_whole_at_every_width(crowded, timing, tmp_path, mode):
    evil = crowded.rows[0].model_copy(update={"label": "</script><img src=x onerror=alert(1)>"})
    results = crowded.model_copy(update={"rows": (evil, *crowded.rows[1:])})
    page = tmp_path / "page.html"
    write_report(results, timing, page)
    n_charts = len(re.findall(r"data-chart=", page.read_text(encoding="utf-8")))
    assert n_charts > 20
    for found in measured(page, mode):
        assert found["dark"] == (mode == "dark")
        assert found["errors"] == "[]"
        assert found["drawn"] == n_charts
        assert found["wide"] == []
        assert found["pale"] == []
        assert found["wordless"] == []
        assert len(found["sorted"]) > 4
        assert found["sorted"] == sorted(found["sorted"], reverse=True)
        assert (found["items"], found["broken"]) == (8, 20)
