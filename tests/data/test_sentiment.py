"""Ratings by people: how they are fetched without running anything, and what becomes of them."""

import hashlib
import http.server
import io
import json
import tarfile
import threading

import pytest

from ensemw2s.config import parse_config
from ensemw2s.data import package_index, vader
from ensemw2s.data.tasks.sentiment import Sentiment
from ensemw2s.data.vader import DOMAINS, RATINGS, TEXTS, fetch_ratings
from ensemw2s.errors import ConfigError, DataError

TEXT = {
    "films": "1\t2.5\tA fine film.\r\n2\t-0.5\tDull &amp; long.\r\n3\t0\tA film.\r\n",
    "products": "\ufeff1_1\t-3.0\tbroken on arrival\n1_2\t1.0\tgood box\n2_1\t-1.0\tmeh\n",
    "editorials": "1_1\t0.2\tThe mayor smiled.\n",
    "tweets": "1\t1.0\tso good\n2\t-2.0\tso \x85bad\n",
}
MEAN = {
    "films": "1\t2.5\t.5\t[3, 2]\r\n2\t-0.5\t.5\t[-1, 0]\r\n3\t0\t0\t[0, 0]\r\n",
    "products": "\ufeff1_1\t-3.0\t0\t[-3]\n1_2\t1.0\t0\t[1]\n2_1\t-1.0\t0\t[-1]\n",
    "editorials": "1_1\t0.2\t0\t[0]\n",
    "tweets": "1\t3.0\t0\t[3]\n2\t-2.0\t0\t[-2]\n",  # the first with another mean than beside its text
}


def contents() -> dict[str, bytes]:
    return {f"{DOMAINS[d]}{TEXTS}": text.encode() for d, text in TEXT.items()} | {
        f"{DOMAINS[d]}{RATINGS}": text.encode() for d, text in MEAN.items()
    }


@pytest.fixture
def folder(tmp_path):
    for name, content in contents().items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def test_class_is_the_sign_and_difficulty_the_nearness_to_zero_within_the_domain(folder):
    task = Sentiment(path=str(folder)).load()
    found = {e.id: e for e in task.examples}
    assert set(found) == {
        "films-1",
        "films-2",
        "products-1_1",
        "products-1_2",
        "products-2_1",
        "editorials-1_1",
        "tweets-1",
        "tweets-2",
    }
    assert [found[i].answer for i in ("films-1", "films-2", "tweets-2")] == ["positive", "negative", "negative"]
    assert found["films-2"].prompt == "Dull & long.\nSentiment:"
    assert found["tweets-2"].prompt == "so \x85bad\nSentiment:"  # no end of line
    difficulty = {i: e.difficulty for i, e in found.items()}
    assert (difficulty["films-1"], difficulty["films-2"]) == (0.0, 0.5)
    # Two are equally clear; one of three is clearer than both.
    assert (difficulty["products-1_1"], difficulty["products-1_2"], difficulty["products-2_1"]) == (0.0, 1 / 3, 1 / 3)
    assert (difficulty["tweets-1"], difficulty["tweets-2"]) == (0.0, 0.5)  # the ratings' mean counts
    assert found["products-1_1"].group_id == found["products-1_2"].group_id != found["products-2_1"].group_id
    only = Sentiment(path=str(folder), domains=("tweets",)).load()
    assert {e.id for e in only.examples} == {"tweets-1", "tweets-2"}


def drawn(folder, **settings) -> dict[tuple[str, str], int]:
    """Voter and text to class."""
    votes = Sentiment(path=str(folder), **settings).load().votes
    names = [(votes.voters[v], votes.ids[e]) for v, e in zip(votes.voter, votes.example, strict=True)]
    return dict(zip(names, votes.choice, strict=True))


def test_raters_vote_for_the_sign_of_a_rating_that_is_drawn_and_abstain_at_zero(folder):
    assert Sentiment(path=str(folder)).load().votes is None
    one, two = (drawn(folder, raters_per_item=k) for k in (1, 2))
    assert one["rater 1", "films-1"] == two["rater 2", "films-1"] == 1
    assert one["rater 1", "products-1_1"] == 0
    assert ("rater 2", "products-1_1") not in two  # it has one rating
    assert {text for _, text in two if text == "films-2"} == {"films-2"}
    assert sum(text == "films-2" for _, text in two) == 1  # of -1 and 0
    assert not any(text == "editorials-1_1" for _, text in two)  # rated 0
    assert one.items() <= two.items()  # the first rater is the same whatever their number
    others = [drawn(folder, raters_per_item=1, raters_seed=seed) for seed in range(8)]
    assert {("rater 1", "films-2") in each for each in others} == {True, False}
    with pytest.raises(ConfigError, match="votes and raters_per_item both say who votes"):
        parse_config({"task": {"name": "sentiment", "votes": "v.csv", "raters_per_item": 1}})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tweets_anonDataRatings.txt", b"1\t3\t0\t[3]\n", "no ratings of '2'"),
        ("tweets_anonDataRatings.txt", b"1\tx\t0\t[3]\n2\t1\t0\t[1]\n", "the mean of '1' is 'x', no number"),
        ("tweets_anonDataRatings.txt", b"1\tnan\t0\t[3]\n2\t1\t0\t[1]\n", "is 'nan', no number from -4 to 4"),
        (
            "tweets_anonDataRatings.txt",
            b"1\t3\t0\t[3]\n2\t1\t0\t[9]\n",
            r"ratings of '2' are '\[9\]', no list of whole",
        ),
        ("tweets_anonDataRatings.txt", b"1\t3\t0\t[3]\n2\t1\t0\tx\n", "ratings of '2' are 'x', no list"),
        ("tweets_GroundTruth.txt", b"1\t3\n", "line 1: 2 columns, not at least 3"),
        ("tweets_GroundTruth.txt", b"1\t3\t\xff\n", "UnicodeDecodeError"),
    ],
)
def test_a_damaged_file_is_named_with_its_place(folder, name, content, said):
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        Sentiment(path=str(folder)).load()
    assert name in str(caught.value)
    assert "ensemw2s fetch sentiment" in str(caught.value)


def test_without_the_ratings_the_message_says_how_to_get_them(tmp_path):
    with pytest.raises(DataError, match="fetch the ratings with: ensemw2s fetch sentiment"):
        Sentiment(path=str(tmp_path / "none")).load()
    with pytest.raises(DataError, match="ensemw2s fetch sentiment"):
        parse_config({"task": {"name": "sentiment", "path": str(tmp_path)}}).task.load()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """index(files, as_json) starts a package index that has one project with these files."""
    servers = []

    def start(files: dict[str, bytes], *, as_json: bool = True) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rpartition("/")[2]
                if self.path == "/simple/vadersentiment/":
                    links = [{"filename": f, "url": f"../../files/{f}"} for f in files]
                    page = (
                        json.dumps({"files": links})
                        if as_json
                        else "".join(f'<a href="../../files/{f}#sha256=0">{f}</a>' for f in files)
                    )
                    self.answer(page.encode(), package_index.JSON if as_json else "text/html")
                elif name in files:
                    self.answer(files[name], "application/octet-stream")
                else:
                    self.send_error(404)

            def answer(self, content: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")

    monkeypatch.setenv("ENSEMW2S_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "html"])
def test_the_archive_is_fetched_by_its_hash_and_kept(index, monkeypatch, as_json):
    inner = packed({f"hutto_ICWSM_2014/{name}": content for name, content in contents().items()})
    outer = packed({"vaderSentiment-3.3.2/setup.py": b"raise SystemExit('run')", vader._INNER: inner})
    name = "vaderSentiment-3.3.2.tar.gz"
    index({name: outer}, as_json=as_json)
    said: list[str] = []
    with pytest.raises(DataError, match="not the expected file"):
        fetch_ratings(echo=said.append)
    monkeypatch.setattr(vader, "_OUTER", (name, len(outer), hashlib.sha256(outer).hexdigest()))
    with pytest.raises(DataError, match="it is not used"):
        fetch_ratings(echo=said.append)
    assert not vader.ratings_folder().exists()
    monkeypatch.setattr(vader, "_INNER_SHA256", hashlib.sha256(inner).hexdigest())
    folder = fetch_ratings(echo=said.append)
    assert {n: (folder / n).read_bytes() for n in contents()} == contents()
    assert len(Sentiment().load().examples) == 8
    n_said = len(said)
    assert fetch_ratings(echo=said.append) == folder  # found, not downloaded
    assert len(said) == n_said
    (folder / "tweets_GroundTruth.txt").write_bytes(b"changed")
    fetch_ratings(echo=said.append)
    assert "damaged" in said[n_said]
    assert (folder / "tweets_GroundTruth.txt").read_bytes() == contents()["tweets_GroundTruth.txt"]


def test_an_index_without_the_file_or_without_an_answer_is_one_sentence(index, monkeypatch):
    index({"vaderSentiment-1.0.tar.gz": b""})
    with pytest.raises(DataError, match="has no such file; name another index in PIP_INDEX_URL"):
        fetch_ratings(echo=lambda text: None)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(DataError, match="the package index does not give it"):
        fetch_ratings(echo=lambda text: None)
