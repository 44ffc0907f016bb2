"""Difficulty of questions that are answered in words, as a model finds it that did not see them."""

import pytest
import torch

from ensemw2s.config import CacheConfig, DecodingConfig, DifficultyConfig, ModelConfig
from ensemw2s.data.encode import encode_answers
from ensemw2s.ensemble import rate
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.models.activations import open_activations
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.storage.store import Store
from tiny_run import stepped

CONFIG = ModelConfig(model="tiny", n_layers=2, adapter="top", top_layers=1)
DECODING = DecodingConfig(max_new_tokens=5, temperature=0.7)
N, N_FOLDS, N_LABELLED = 30, 2, 12
GROUPS = [str(i // 2) for i in range(N)]
TEXTS = ["yes" if i % 3 else "no, never" for i in range(N)]


class Rated:
    """A rating of N questions, with all that it asked for."""

    def __init__(self, source, store, texts=TEXTS):
        self.backbone = load_backbone(CONFIG)
        self.names = [f"Is {i} even?" for i in range(N)]
        self.prompts = self.backbone.tokenizer(self.names)["input_ids"]
        self.texts, self.asked, self.raters = texts, [], []
        self.config = DifficultyConfig(source=source, n_folds=N_FOLDS, n_labelled=N_LABELLED)
        self.found = rate.rate_answers(
            self.backbone,
            self.prompts,
            self.truths,
            lambda ids: open_activations(self.backbone, ids, config=CONFIG, cache=CacheConfig(), store=store),
            GROUPS,
            self.build,
            stepped(epochs=2, batch_size=4, learning_rate=0.01),
            DECODING,
            self.config,
            seed=0,
        )

    def truths(self, rows):
        self.asked += rows.tolist()
        mine = [[values[r] for r in rows.tolist()] for values in (self.prompts, self.texts, self.names)]
        return encode_answers(self.backbone.tokenizer, mine[0], mine[1], max_length=64, names=mine[2])

    def build(self, generator):
        self.raters.append(AnswerModel(self.backbone, self.backbone.unembedding, CONFIG, generator=generator))
        return self.raters[-1]

    def log_probs(self, rater, row, answer):
        """One question at a time, teacher-forced: the distribution of each answer token."""
        ids = torch.tensor([[*self.prompts[row], *answer]])
        members = SharedTrunk(self.backbone, [self.raters[rater]])
        states = members.read(ids, torch.ones_like(ids), None)[:, 0, len(self.prompts[row]) - 1 : -1]
        return members.logits(states)[0].double().log_softmax(-1)

    def own_answer(self, rater, row):
        """Greedy by hand: the likeliest next token of the whole text so far, until the end token or the limit."""
        answer: list[int] = []
        for _ in range(DECODING.max_new_tokens):
            answer.append(int(self.log_probs(rater, row, [*answer, 0])[-1].argmax()))
            if answer[-1] == 1 or "\n" in self.backbone.tokenizer.decode(answer):
                break
        return answer


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize("source", ["entropy", "margin"])
def test_uncertainty_is_the_raters_mean_along_their_own_greedy_answers_and_reads_no_other_answer(source, store):
    rated = Rated(source, store)
    aside = rated.found.set_aside
    assert int(aside.sum()) == N_LABELLED
    assert sorted(rated.asked) == aside.nonzero()[:, 0].tolist()
    assert {GROUPS[i] for i in rated.asked}.isdisjoint(GROUPS[i] for i in (~aside).nonzero()[:, 0].tolist())
    for row in (~aside).nonzero()[::4, 0].tolist():
        of_raters = []
        for rater in range(N_FOLDS):
            log_probs = rated.log_probs(rater, row, rated.own_answer(rater, row))
            top = log_probs.exp().sort(descending=True).values
            entropy, margin = -(log_probs.exp() * log_probs).sum(-1), top[:, 0] - top[:, 1]
            of_raters.append(float(entropy.mean() if source == "entropy" else (1 - margin).mean()))
        assert float(rated.found.difficulty[row]) == pytest.approx(sum(of_raters) / N_FOLDS, abs=1e-4)


def test_p_true_is_the_mean_log_probability_of_the_true_answer_to_the_rater_that_did_not_see_it(store, monkeypatch):
    seen: list[set[str]] = []
    plain = rate.train_answers

    def train(module, inputs, supervision, *rest, **settings):
        seen.append({GROUPS[i] for i in supervision.rows.tolist()})
        plain(module, inputs, supervision, *rest, **settings)

    monkeypatch.setattr(rate, "train_answers", train)
    rated = Rated("p_true", store)
    assert not rated.found.set_aside.any()
    ends = rated.truths(torch.arange(N))
    for row in range(0, N, 5):
        (rater,) = [r for r in range(N_FOLDS) if GROUPS[row] not in seen[r]]
        answer = ends.ids[row][ends.prompt_lengths[row] :]
        gold = rated.log_probs(rater, row, answer).gather(-1, torch.tensor(answer)[:, None])
        assert float(rated.found.difficulty[row]) == pytest.approx(-float(gold.mean()), abs=1e-4)
    flipped = ["no, never" if text == "yes" else "yes" for text in TEXTS]
    assert not torch.equal(Rated("p_true", store, flipped).found.difficulty, rated.found.difficulty)
