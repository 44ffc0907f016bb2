"""Drawn answers: the same one by one and in any batch, and as often as their probabilities say."""

from collections import Counter

import pytest
import torch
from test_decode import CONFIG, GREEDY, WEIGHTS, models

from ensemw2s.config import DecodingConfig, RestartConfig
from ensemw2s.ensemble.reading import Reading
from ensemw2s.ensemble.words.decode import decode
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.samples import beginnings, draw_answers, whose_turn
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.loading.tiny import byte_tokenizer

HOT = GREEDY.model_copy(update={"temperature": 0.9, "max_new_tokens": 6})
NAMES = [f"q{i}" for i in range(6)]


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(CONFIG)


@pytest.fixture(scope="module")
def drawn_from(backbone):
    members = SharedTrunk(backbone, models(backbone))
    texts = [f"Is {i} above 3?" * (1 + i % 2) for i in range(len(NAMES))]
    prompts = dict(zip(NAMES, backbone.tokenizer(texts)["input_ids"], strict=True))
    greedy = decode(members, WEIGHTS, backbone.tokenizer, list(prompts.values()), GREEDY)

    def draw(names, n, config=HOT):
        places = [(row, k) for row in range(len(names)) for k in range(n)]
        asked = [prompts[name] for name in names]
        drawn = draw_answers(members, WEIGHTS, backbone.tokenizer, asked, config, places, row_ids=names)
        return {(names[row], k): answer.tokens for (row, k), answer in zip(places, drawn, strict=True)}

    draw.greedy = dict(zip(NAMES, [d.tokens for d in greedy], strict=True))
    return draw


def test_a_sample_is_the_same_however_many_are_drawn_and_in_any_batch_and_order(drawn_from):
    eight = drawn_from(NAMES, 8)
    four = drawn_from(NAMES[::-1], 4, HOT.model_copy(update={"batch_rows": 5}))
    assert all(eight[place] == tokens for place, tokens in four.items())
    assert len({eight["q0", k] for k in range(8)}) > 4


def test_without_temperature_every_sample_is_the_greedy_answer(drawn_from):
    for (name, _), tokens in drawn_from(NAMES[:2], 3, GREEDY).items():
        assert tokens == drawn_from.greedy[name]


class Scripted:
    """One member whose next token depends on the last one alone, by a table of probabilities."""

    n_members, pad_id = 1, 0

    def __init__(self, table):
        self.table = table

    def start(self):
        return NothingRead([])

    def read(self, ids, mask, reading):
        return torch.nn.functional.one_hot(ids, len(self.table)).double()[None]

    def logits(self, states):
        return (states @ self.table).log()


class NothingRead(Reading):
    def keep(self, rows):
        pass


def test_samples_come_as_often_as_their_probabilities_say():
    tokenizer = byte_tokenizer()
    asked, a, b, line = (tokenizer(text)["input_ids"][0] for text in "?ab\n")
    table = torch.zeros(len(tokenizer), len(tokenizer), dtype=torch.float64)
    table[asked, [a, b, line]] = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    table[[a, b], 1] = 1.0
    config, n = DecodingConfig(temperature=1.0), 400
    places = [(0, k) for k in range(n)]
    drawn = draw_answers(Scripted(table), torch.ones(1), tokenizer, [[asked]], config, places, row_ids=["q"])
    for text, share in (("a", 0.5), ("b", 0.3), ("", 0.2)):
        count = sum(answer.text == text for answer in drawn)
        assert abs(count / n - share) < 4 * (share * (1 - share) / n) ** 0.5
    assert all(answer.is_finished for answer in drawn)


def test_a_pools_experts_take_turns_by_their_weights():
    names = [f"q{i}" for i in range(50)]
    turns = whose_turn(torch.tensor([3.0, 1.0]), names, 8, seed=0)
    assert float((turns == 0).double().mean()) == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / 400) ** 0.5)
    assert torch.equal(whose_turn(torch.tensor([3.0, 1.0]), names[::-1], 4, seed=0).flip(0), turns[:, :4])
    assert set(whose_turn(torch.zeros(2), names, 8, seed=0).flatten().tolist()) == {0, 1}


def test_a_sample_goes_on_from_an_answer_without_its_last_lines():
    restart, names = RestartConfig(marker="\nWait.\n", max_back=2), [f"q{i}" for i in range(200)]
    begun = beginnings(["one\ntwo\nthree\n"] * 200, names, 4, restart, seed=0)
    counts = Counter(text for row in begun for text in row)
    left = ["one\ntwo\nthree\nWait.\n", "one\ntwo\nWait.\n", "one\nWait.\n"]
    assert set(counts) == set(left)
    assert all(abs(counts[text] / 800 - 1 / 3) < 4 * (2 / 9 / 800) ** 0.5 for text in left)
    # Sample k depends on its question and k alone; where no line is left it begins anew.
    assert beginnings(["one\ntwo\nthree"], ["q7"], 2, restart, seed=0) == [begun[7][:2]]
    assert {text for row in beginnings(["one", ""], names[:2], 8, restart, seed=0) for text in row} == {
        "",
        "one\nWait.\n",
    }


class Doubting(Scripted):
    """After "!" its next token depends on the answer before it: after a right one it is that of "\n"."""

    def __init__(self, table, tokens):
        super().__init__(table)
        self.tokens = tokens

    def read(self, ids, mask, reading):
        right, mark, other = self.tokens
        after_right = (ids[:, 1:] == mark) & (ids[:, :-1] == right)
        return super().read(torch.cat([ids[:, :1], ids[:, 1:].masked_fill(after_right, other)], 1), mask, reading)


def test_restarts_mend_and_break_as_often_as_the_model_does():
    tokenizer = byte_tokenizer()
    right, wrong, mark, other = (tokenizer(text)["input_ids"][0] for text in "rw!\n")
    table = torch.zeros(len(tokenizer), len(tokenizer), dtype=torch.float64)
    table[[right, wrong], 1] = 1.0  # having answered, it ends
    table[mark, [right, wrong]] = torch.tensor([0.6, 0.4], dtype=torch.float64)
    table[other, [right, wrong]] = torch.tensor([0.9, 0.1], dtype=torch.float64)
    own, n = "rw" * 50, 8
    names = [f"q{i}" for i in range(len(own))]
    begun = beginnings(own, names, n, RestartConfig(marker="!", max_back=0), seed=0)
    drawn = draw_answers(
        Doubting(table, (right, mark, other)),
        torch.ones(1),
        tokenizer,
        tokenizer(["?"] * len(own))["input_ids"],
        DecodingConfig(temperature=1.0),
        [(row, k) for row in range(len(own)) for k in range(n)],
        row_ids=names,
        begun=[[tokenizer(text)["input_ids"] for text in row] for row in begun],
    )
    share = torch.tensor([answer.text == "r" for answer in drawn]).view(len(own), n).double().mean(1)
    is_right = torch.tensor([answer == "r" for answer in own])
    mended, broken = float(share[~is_right].mean()), 1 - float(share[is_right].mean())
    assert abs(mended - 0.6) < 4 * (0.6 * 0.4 / 400) ** 0.5
    assert abs(broken - 0.1) < 4 * (0.1 * 0.9 / 400) ** 0.5
