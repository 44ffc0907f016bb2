"""Worked solutions whose samples go on from the teacher's own answer: what is drawn, stored, counted and refused."""

from dataclasses import replace

import pytest
import torch

from ensemw2s.config import parse_config
from ensemw2s.data.tasks.gsm8k import Gsm8k
from ensemw2s.errors import ConfigError
from ensemw2s.forms.generation.labelling.labels import PseudoAnswers
from ensemw2s.forms.generation.labelling.samples import with_samples
from ensemw2s.forms.generation.scores import AnswerVoters
from ensemw2s.forms.generation.scoring import AnswerScoring
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.services.planning.words import AnswerCounts
from ensemw2s.storage.store import Store
from tiny_run import merged, tiny_words_tree

MARK = "\nWait.\n"
OWN = "First 1.\nThen 2.\n#### 3"


@pytest.fixture(scope="module")
def tree(tmp_path_factory, task_file):
    folder = tmp_path_factory.mktemp("gsm8k")
    for name, text in Gsm8k(path=str(folder)).stand_in().items():
        (folder / name).write_text(text)
    tree = tiny_words_tree(task_file)
    tree["task"] = {"name": "gsm8k", "path": str(folder), "worked": True}
    tree["split"] = dict.fromkeys(tree["split"], 8) | {"n_easy_pool": 16}
    tree["generation"] = {"samples": 6, "restart": {"marker": MARK}, "decoding": {"max_new_tokens": 12}}
    return tree


@pytest.fixture(scope="module")
def drawn(tree, tmp_path_factory):
    """The seed's samples with and without restarts, of an untrained model that is told what it answered."""
    store, found = Store(tmp_path_factory.mktemp("store")), []
    for generation in (tree["generation"], tree["generation"] | {"restart": None}):
        config = parse_config(tree | {"generation": generation})
        work = SeedWork(prepare(config, store, lambda m, n: None), store, 0)
        names = work.prepared.names_of(work.context.draw.hard_unlabelled)
        record = {"ids": names, "labels": [{"members": [OWN]}] * len(names), "expert_weights": [1.0]}
        labels = PseudoAnswers((OWN,) * len(names), torch.full((len(names),), 0.5), torch.ones(len(names)), record)
        voters = AnswerVoters(work.prepared.weak, (), (), torch.ones(1))
        found.append((work, voters, labels, *with_samples(work.prepared, work.context, voters, labels)))
    return found


def test_samples_go_on_from_the_teachers_answer_and_are_drawn_once(drawn):
    (work, voters, labels, restarted, cost), (*_, plain_cost) = drawn
    texts = [text for row in restarted.samples.texts for text in row]
    kept = ["First 1.\nThen 2.\n#### 3", "First 1.\nThen 2.", "First 1."]
    assert {text.split(MARK)[0] for text in texts if text} <= set(kept)
    assert all(any(c.isdigit() for c in text.split(MARK)[1]) for text in texts if text)
    stored = [key for kind, key in work.context.used if kind == "samples"]
    record = work.context.store.load("samples", stored[0]).record
    silent = [t for t in (t for row in record["texts"] for t in row) if not any(c.isdigit() for c in t)]
    assert texts.count("") >= len(silent) > 0
    assert restarted.samples.probability.max() <= 0.5  # the teacher's own text stays that of its column
    assert cost.flops > plain_cost.flops  # what they go on from is read
    again = with_samples(work.prepared, work.context, voters, labels)
    assert again[0].samples.texts == restarted.samples.texts
    other = replace(labels, texts=("9\n#### 9", *labels.texts[1:]))
    with_samples(work.prepared, work.context, voters, other)
    assert len({key for kind, key in work.context.used if kind == "samples"}) == 2


def test_mended_and_broken_count_each_sample(drawn):
    (work, _, labels, restarted, _), (plain_work, _, _, plain, _) = drawn
    truth = ("3", *["8"] * (len(labels.texts) - 1))
    found = AnswerScoring(work.prepared).restarts({"single": restarted}, truth)["single"]
    assert found.own_is_right.tolist() == [True] + [False] * (len(truth) - 1)
    right = [sum(work.prepared.final(text) == "3" for text in restarted.samples.texts[0]) / 6]
    assert found.share_right[:1].tolist() == pytest.approx(right)
    assert AnswerScoring(plain_work.prepared).restarts({"single": plain}, truth) == {}


def test_the_plan_counts_what_restarts_read(drawn):
    with_, without = ({u.what: u for u in AnswerCounts(work.prepared)._drawn()} for work, *_ in drawn)
    for what in ("drawn answers", "the strong model's drawn answers"):
        assert with_[what].amount == without[what].amount
        assert with_[what].tokens - without[what].tokens > 6 * 8 * len(MARK)


@pytest.mark.parametrize(
    ("task", "generation", "message"),
    [
        ({"worked": False}, {}, "generation.restart: it takes back lines of a worked solution, and gsm8k is answered"),
        ({}, {"samples": 0}, "restart says how samples begin, and samples is 0"),
    ],
)
def test_restarts_are_refused_where_there_is_nothing_to_go_on_from(tree, task, generation, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(merged(tree, {"task": task, "generation": generation}))
