"""Digits with a dial of noise, and pictures in prompts."""

import json

import numpy as np
import pytest
from PIL import Image

from ensemw2s.config import SplitConfig
from ensemw2s.data.own.sides import groups_of
from ensemw2s.data.splits import make_split
from ensemw2s.data.tasks.digits import Digits, clean_digits, place_of
from ensemw2s.data.tasks.files import Files
from ensemw2s.data.templates.prompts import prompts_of
from ensemw2s.errors import DataError
from ensemw2s.examples import Example
from ensemw2s.pictures import by_content, is_picture, pictures_of, placed, shown, split_at_pictures


def test_the_noise_of_a_picture_is_as_strong_as_its_difficulty_says():
    task = Digits().load()
    clean, labels = clean_digits()
    assert [place_of(e.id) for e in task.examples] == list(range(1797))
    assert [int(e.answer or "") for e in task.examples] == labels
    drawn: list[float] = []
    for row, example in zip(clean, task.examples, strict=True):
        pixels, strength = np.array(row), example.difficulty or 0.0
        if 0.05 < strength < 0.3:
            ((path, _),) = pictures_of(example.prompt)
            seen = np.asarray(Image.open(path), dtype=float).ravel() * 16 / 255
            grey = (pixels > 5) & (pixels < 11)  # where so much noise seldom meets an end of the scale
            drawn += ((seen - pixels)[grey] / (8 * strength)).tolist()
    assert np.mean(drawn) == pytest.approx(0, abs=0.05)
    assert np.std(drawn) == pytest.approx(1, abs=0.05)
    assert 0.45 < np.mean([e.difficulty for e in task.examples]) < 0.55
    assert Digits().load() == task
    assert Digits(seed=1).load().examples[0].prompt != task.examples[0].prompt


def test_content_and_not_the_place_of_a_picture_decides(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("a.png", "b/c.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    first, second = (placed(f"![]({name})", tmp_path, "row") for name in ("a.png", "b/c.png"))
    assert first != second
    assert by_content(first) == by_content(second)
    one, other = (Example(name, name, prompt) for name, prompt in (("1", first), ("2", second)))
    assert groups_of([one, other]) == [0, 0]
    assert is_picture(first)
    assert shown(f"Is {first} a 7?").startswith("Is ![](a.png#")
    assert split_at_pictures(f"Is {first} a 7?") == ["Is ", " a 7?"]
    Image.new("L", (5, 5)).save(tmp_path / "a.png")
    assert by_content(placed("![](a.png)", tmp_path, "row")) != by_content(first)
    with pytest.raises(DataError, match=r"row: the picture .* has changed"):
        placed(first, tmp_path, "row")


def test_rows_of_files_find_their_pictures_beside_the_file(tmp_path):
    for name, grey in (("a", 0), ("b", 9)):
        Image.new("L", (4, 4), grey).save(tmp_path / f"{name}.png")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"image": f"{n}.png", "answer": n}) + "\n" for n in "ab"))
    task = Files(path=str(rows), prompt="![]({{ image }})").load()
    assert [pictures_of(e.prompt)[0][0] for e in task.examples] == [str(tmp_path / f"{n}.png") for n in "ab"]
    (asked, lacking) = prompts_of(str(rows), "![]({{ image }}) {{ answer }}")
    assert asked.prompt == f"{task.examples[0].prompt} a"
    (tmp_path / "b.png").unlink()
    (asked, lacking) = prompts_of(str(rows), "![]({{ image }})")
    assert asked.prompt
    assert lacking.prompt is None
    assert "cannot be read (No such file or directory)" in lacking.problem
    with pytest.raises(DataError, match=r"the picture .*b.png cannot be read"):
        Files(path=str(rows), prompt="![]({{ image }})").load()


def test_the_split_of_digits_is_by_noise():
    sizes = {f"n_{part}": 20 for part in ("easy_pool", "easy_train", "hard_pool", "hard_unlabelled", "id_test")}
    split = make_split(Digits().load(), SplitConfig(**sizes | {"n_easy_train": 15, "n_easy_val": 5, "n_ood_test": 20}))
    easy, hard = (split.difficulty[list(split.pools[name])] for name in ("id_test", "ood_test"))
    assert easy.max() < hard.min()
