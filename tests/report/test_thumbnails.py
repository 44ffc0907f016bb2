"""Thumbnails of the pictures that a page shows: small, few, and absent where a file or Pillow is."""

import base64
import builtins
import io
import random

import pytest
from PIL import Image
from test_browser import CHROMIUM, dumped

from ensemw2s.pictures import at_short_names, placed, shown
from ensemw2s.pipeline import thumbnails
from ensemw2s.pipeline.thumbnails import MOST, SIDE, with_thumbnails
from ensemw2s.report.page import render, write_report


@pytest.fixture
def prompts(tmp_path):
    """Of a large photo, a tiny picture, a narrow one, and one whose file is gone."""
    rng = random.Random(0)
    for name, size in {"photo": (640, 480), "tiny": (8, 8), "narrow": (5, 900), "gone": (9, 9)}.items():
        Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1])).save(tmp_path / f"{name}.png")
    made = [placed(f"Is ![]({name}.png) a cat?", tmp_path, "row") for name in ("photo", "tiny", "narrow", "gone")]
    (tmp_path / "gone.png").unlink()
    return made


def showing(results, prompts):
    """The results with items of these prompts in the place of the first ones."""
    items = [
        item.model_copy(update={"text": shown(prompt)})
        for item, prompt in zip(results.items.items, prompts, strict=False)
    ]
    return results.model_copy(update={"items": results.items.model_copy(update={"items": tuple(items)})})


def named(prompt: str) -> str:
    """The name of its picture."""
    (_, name), _ = at_short_names(shown(prompt))
    assert name is not None
    return name


def opened(data):
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_they_are_small_and_those_of_items_alone(results, prompts):
    found = with_thumbnails(showing(results, prompts), [*prompts, "no picture"]).thumbnails
    assert {name: opened(data).size for name, data in found.items()} == {
        named(prompts[0]): (96, 72),
        named(prompts[1]): (96, 96),
        named(prompts[2]): (1, 96),
    }
    assert all(opened(data).format == "PNG" and len(data) < 14_000 for data in found.values())
    assert with_thumbnails(results, prompts) is results


def test_without_pillow_pictures_are_named(results, prompts, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments):
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    assert with_thumbnails(showing(results, prompts), prompts).thumbnails == {}


def test_there_are_no_more_than_are_allowed(results, prompts, monkeypatch):
    assert (SIDE, MOST) == (96, 200)
    monkeypatch.setattr(thumbnails, "MOST", 1)
    assert list(with_thumbnails(showing(results, prompts), prompts).thumbnails) == [named(prompts[0])]


def test_the_page_shows_them_and_names_the_others(results, prompts):
    example = results.task.easy_example.model_copy(update={"text": shown(prompts[1])})
    task = results.task.model_copy(update={"easy_example": example})
    made = with_thumbnails(showing(results, prompts).model_copy(update={"task": task}), prompts)
    page = render(made, None)
    strip = page.split('<section id="experiment">')[1].split("</section>")[0]
    name = named(prompts[1])
    picture = f'<img class="thumb" src="data:image/png;base64,{made.thumbnails[name]}" alt="tiny.png" title="{name}">'
    assert f"<blockquote>Is {picture} a cat?<span" in strip.replace("&#43;", "+")
    evil = dict.fromkeys(made.thumbnails, '"><script>alert(1)</script>')
    assert "<script>alert" not in render(made.model_copy(update={"thumbnails": evil}), None)
    assert "thumb" not in render(results, None).split("</style>")[1].split("<script")[0]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium on the PATH")
def test_a_browser_draws_them_among_the_items(results, prompts, tmp_path):
    page = tmp_path / "page.html"
    write_report(with_thumbnails(showing(results, prompts), prompts), None, page)
    items = dumped(page.as_uri(), "light", tmp_path / "profile").split('<div id="item-list"')[1]
    assert [f'alt="{name}.png"' in items for name in ("photo", "tiny", "narrow", "gone")] == [True, True, True, False]
    assert f"Is ![]({named(prompts[3])}) a cat?" in items
