"""The viewer in a browser: within its width and legible in both modes, live, and with reports that still draw."""

import re
import threading
from contextlib import contextmanager
from typing import Any

import pytest

from ensemw2s.report.page import write_report
from ensemw2s.results import RunComparison, RunLine, RunPair
from ensemw2s.results.overview import BoardOverview, Headline, Overview, RunOverview
from ensemw2s.results.progress import Progress, Work
from ensemw2s.services.viewing.overview import Folder
from ensemw2s.services.viewing.server import ViewHandler, ViewServer
from report.conftest import interval, synthetic
from report.test_browser import CHROMIUM, dumped, found_in, harness

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium on the PATH"),
]
VERDICT = "Use the student of the boosted ensemble: 62.0% right on the hard test, +2.0 points over strong-on-easy."


def run_overview(name: str, state: str, **facts: Any) -> RunOverview:
    place = {"folder": f"sweeps/depth/{name}", "name": name, "task": "support-tickets", "seeds": (0, 1, 2)}
    return RunOverview.model_validate(place | {"state": state, "time": 1_790_000_000.0} | facts)


def everything() -> Overview:
    """Every state, with names and messages that need room."""
    work = (
        Work(what="experts", unit="", done=31, total=120, seconds=900.0, left=2400.0),
        Work(
            what="trunk of all-minilm-l6-v2", unit="tokens", done=1_230_000, total=4_500_000, seconds=90.0, left=240.0
        ),
    )
    progress = Progress(time=1_790_000_000.0, work=work)
    message = (
        "split.n_easy_pool (100000) exceeds the 500 examples of /a/long/path/to/questions-of-customers.jsonl; lower it"
    )
    headlines = [
        Headline(
            verdict=VERDICT,
            metric="accuracy",
            is_ood=is_ood,
            label="student of the boosted ensemble",
            used=interval(mean),
            on_easy=interval(0.6),
            ceiling=interval(0.7) if is_ood else None,
            has_report=True,
        )
        for mean, is_ood in ((0.62, True), (0.58, False), (0.66, True))
    ]
    return Overview(
        folder="/home/somebody/projects/weak-to-strong/experiments/runs",
        runs=(
            run_overview("weak.n_layers=8+strong.n_layers=20", "running", progress=progress),
            run_overview("just-begun", "running"),
            *(run_overview(f"finished-{n}", "finished", headline=each) for n, each in enumerate(headlines)),
            run_overview("killed", "interrupted", progress=progress),
            run_overview("refused-with-a-name-that-is-quite-long", "failed", message=message),
            run_overview("spoiled", "damaged", message=message),
        ),
        leaderboards=(
            BoardOverview(
                folder="boards/mine",
                is_running=False,
                n_methods=24,
                tasks=("sentiment", "geo-facts", "support-tickets"),
                best="students of the boosted ensemble",
                gain=interval(0.02),
                has_page=True,
            ),
        ),
        is_cut=True,
    )


def side_by_side() -> RunComparison:
    labels = {"a": "student of the boosted ensemble, trained on soft labels", "b": "strong model on easy labels"}
    lines = tuple(
        RunLine(
            run=f"sweeps/depth/finished-{n}",
            row="a",
            labels=labels,
            n_seeds=3,
            metric="accuracy",
            accuracy=dict.fromkeys(labels, interval(0.6)),
        )
        for n in range(3)
    )
    first, *others = (line.run for line in lines)
    pairs = (
        RunPair(first=others[0], second=first, difference=interval(0.01), reason=""),
        RunPair(first=others[1], second=first, difference=None, reason="the seeds differ: [0, 1] and [0, 1, 2]"),
    )
    return RunComparison(lines=lines, pairs=pairs)


class Told(Folder):
    """A folder of which it was told what to say."""

    def overview(self) -> Overview:
        self._found = {"a": self.root}
        return everything()

    def comparison(self, names) -> RunComparison:
        return side_by_side()


class Measuring(ViewHandler):
    """The viewer, and at its own address the page that measures it, with two runs ticked."""

    def do_GET(self) -> None:
        if self.path == "/harness":
            tick = "for (const box of page.querySelectorAll('[name=run]')) if (!box.checked) box.click();"
            text = harness("/").replace("const wide = []", f"{tick} const wide = []")
            self._send(text.encode(), "default-src 'unsafe-inline' 'self'")
        else:
            super().do_GET()


@contextmanager
def served(folder: Folder):
    with ViewServer(folder, "127.0.0.1", 0) as server:
        server.RequestHandlerClass = Measuring
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_viewer_is_whole_at_every_width(tmp_path, mode):
    with served(Told(tmp_path)) as url:
        for found in found_in(dumped(f"{url}harness", mode, tmp_path / "profile")):
            assert found["dark"] == (mode == "dark")
            assert found["errors"] == "[]"
            assert (found["wide"], found["pale"], found["wordless"]) == ([], [], [])
            assert found["sorted"] == [0.66, 0.62, 0.58, 0, 0, 0, 0, 0]


def test_an_open_page_follows_what_the_records_say(tmp_path):
    class Changing(Told):
        n_looks = 0

        def overview(self) -> Overview:
            self.n_looks += 1
            name = "as-it-was" if self.n_looks == 1 else "as-it-is"
            return everything().model_copy(update={"runs": (run_overview(name, "running"),)})

    with served(Changing(tmp_path)) as url:
        document = dumped(url, "light", tmp_path / "profile")
    assert "as-it-is" in document
    assert "as-it-was" not in document


def test_a_report_still_draws_where_it_may_speak_to_nobody(tmp_path):
    results = synthetic(n_seeds=1, methods=("single",))
    write_report(results, None, tmp_path / "report.html")
    n_charts = len(re.findall(r"data-chart=", (tmp_path / "report.html").read_text(encoding="utf-8")))
    folder = Told(tmp_path)
    folder.overview()  # by then it is known
    with served(folder) as url:
        document = dumped(f"{url}pages/a/report.html", "light", tmp_path / "profile")
    assert re.search(rf"<body [^>]*data-drawn=\"{n_charts}\"", document)
    assert re.search(r"<body [^>]*data-errors=\"\[\]\"", document)
