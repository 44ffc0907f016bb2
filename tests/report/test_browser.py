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


def measured(page: Path, mode: str) -> list[dict[str, Any]]:
    """What the measuring script finds at each of WIDTHS; a window itself cannot be as narrow as a phone."""
    harness = page.with_name("harness.html")
    frames = "".join(f'<iframe src="{page.name}" style="width:{w}px;height:900px;border:0"></iframe>' for w in WIDTHS)
    harness.write_text(MEASURE.replace("FRAMES", frames), encoding="utf-8")
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--hide-scrollbars",
    ]
    command += [f"--user-data-dir={page.parent / 'profile'}", "--window-size=1500,1000", "--virtual-time-budget=30000"]
    command += [f"--blink-settings=preferredColorScheme={0 if mode == 'dark' else 1}", "--allow-file-access-from-files"]
    done = subprocess.run(
        [*command, "--dump-dom", harness.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stdout[:500]
    return json.loads(unescape(found[1]))


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
