"""Outside voters by hand, on planted votes, and where they abstain."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from crowdkit.aggregation import DawidSkene as Reference
from torch.nn.functional import one_hot

from ensemw2s.core.intervals import wilson
from ensemw2s.core.labels import Votes
from ensemw2s.core.labels.base import everything
from ensemw2s.core.labels.confusion import expectation_maximisation
from ensemw2s.core.labels.outside import OutsideVotes, Trust, joined, learn_trust, right_votes, with_outside
from ensemw2s.core.labels.votes import vote_share
from ensemw2s.core.selection.base import Evidence
from ensemw2s.core.selection.scores import Agreement
from ensemw2s.tables import LABEL_MODELS
from tiny_run import READ_JUDGES

RIGHTS, COVERAGE = (0.95, 0.8, 0.6, 0.7), (0.5, 0.9, 0.9, 0.2)


def outside(answers, k):
    """Votes for one class each; -1 abstains."""
    said = one_hot(answers.clamp_min(0), k).float()
    said[answers < 0] = 1 / k
    return OutsideVotes(said, answers >= 0)


def planted(n, k=3, seed=0, rights=RIGHTS, coverage=COVERAGE):
    """Truth, a calibrated model's distribution, and votes that are right this often where they are given."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(k, (n,), generator=generator)
    answers = []
    for right, share in zip(rights, coverage, strict=True):
        wrong = (truth + torch.randint(1, k, (n,), generator=generator)) % k
        answer = torch.where(torch.rand(n, generator=generator) < right, truth, wrong)
        answers.append(torch.where(torch.rand(n, generator=generator) < share, answer, -1))
    # Scores are normal of variance 1, the true class's raised by 1: their softmax is the posterior.
    scores = torch.randn(n, k, generator=generator) + one_hot(truth, k)
    return truth, scores.softmax(-1), outside(torch.stack(answers), k)


def nobody(n_voters, k):
    return outside(torch.full((n_voters, 5), -1), k), torch.zeros(5, dtype=torch.long)


def share_right(soft, truth):
    return float((soft.argmax(-1) == truth).double().mean())


def test_a_vote_is_joined_to_the_models_label_by_hand():
    # Eight of ten labelled votes right: r = 9 / 12. The models say (.6, .4), the voter the second class.
    easy = outside(torch.tensor([[0] * 8 + [1] * 2]), 2)
    prior = torch.tensor([[0.6, 0.4], [0.6, 0.4]])
    votes = outside(torch.tensor([[1, -1]]), 2)
    trust = learn_trust(votes, prior, easy, torch.zeros(10, dtype=torch.long))
    assert trust.is_known.tolist() == [True]
    assert float(trust.reliability(2)[0]) == pytest.approx(0.75, abs=1e-9)
    q = joined(votes, prior, trust.value)
    assert q[0, 1].item() == pytest.approx(0.4 * 0.75 / (0.4 * 0.75 + 0.6 * 0.25))
    assert torch.allclose(q[1].float(), prior[1])
    both = with_outside(Votes(prior[None], torch.tensor([2.0]), prior), votes, trust)
    assert both.weights.tolist() == pytest.approx([2.0, math.log(3)])
    assert torch.allclose(both.member[1], torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    assert both.voted is not None
    assert both.voted.tolist() == [[True, True], [True, False]]
    assert both.agreement.tolist() == [
        0.5,
        1.0,
    ]  # of those who vote: the models say the first, both together the second


@pytest.mark.parametrize("k", [2, 5])
def test_reliability_is_laplaces_estimate_and_never_below_chance(k):
    n = 20
    answers = torch.stack([torch.arange(n) % 4 == 0, torch.arange(n) < n]).long()  # 15 of 20 right, none right
    trust = learn_trust(*_unseen(2, k), outside(answers, k), torch.zeros(n, dtype=torch.long))
    assert trust.reliability(k).tolist() == pytest.approx([16 / (20 + k), 1 / k], abs=1e-6)
    weight = with_outside(_one(k), outside(torch.full((2, 3), -1), k), trust).weights[1:]
    assert weight.tolist() == pytest.approx([math.log(16 / (4 + k)) + math.log(k - 1), 0.0], abs=1e-4)


def _one(k):
    soft = torch.full((3, k), 1 / k)
    return Votes(soft[None], torch.ones(1), soft)


def _unseen(n_voters, k):
    return outside(torch.full((n_voters, 3), -1), k), torch.full((3, k), 1 / k)


def test_trust_in_probabilities_is_the_likeliest():
    generator = torch.Generator().manual_seed(3)
    k, n = 4, 300
    labels = torch.randint(k, (n,), generator=generator)
    overconfident = (3 * (torch.randn(n, k, generator=generator) + one_hot(labels, k))).softmax(-1)
    easy = OutsideVotes(overconfident[None], torch.ones(1, n, dtype=torch.bool))
    found = float(learn_trust(*_unseen(1, k), easy, labels).value)

    def log_likelihood(trust):
        d = trust * overconfident.double() + (1 - trust) / k
        pseudo = math.log(trust + (1 - trust) / k) + (k - 1) * math.log((1 - trust) / k)
        return float(d[torch.arange(n), labels].log().sum()) + pseudo

    grid = np.linspace(0.0, 0.999, 1000)
    assert abs(found - grid[np.argmax([log_likelihood(t) for t in grid])]) < 2e-3


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("has_easy", [True, False])
def test_planted_reliabilities_are_found_and_the_labels_beat_models_and_voters(k, has_easy):
    truth, prior, votes = planted(8000, k)
    easy_truth, _, easy = planted(500, k, seed=1)
    if not has_easy:
        easy, easy_truth = nobody(len(RIGHTS), k)
    trust = learn_trust(votes, prior, easy, easy_truth)
    assert trust.is_known.all() == has_easy
    right = right_votes(easy, easy_truth)
    for v, (found, planted_right) in enumerate(zip(trust.reliability(k).tolist(), RIGHTS, strict=True)):
        if has_easy:
            interval = wilson(int(right[v]), int(easy.voted[v].sum()))
            assert interval.low <= planted_right <= interval.high
            assert interval.low <= found <= interval.high
        else:
            assert found == pytest.approx(planted_right, abs=0.025)
    soft = joined(votes, prior, trust.value)
    answers = votes.said.argmax(-1).masked_fill(~votes.voted, -1)
    voted = votes.voted.any(0)
    by_voters = share_right(vote_share(answers[:, voted], k), truth[voted])
    assert share_right(soft, truth) > max(share_right(prior, truth), by_voters) + 0.02
    # What it says is as sure as it is right.
    assert float(soft.amax(-1).mean()) == pytest.approx(share_right(soft, truth), abs=0.02)


def test_a_voter_without_labelled_votes_is_judged_beside_those_that_have_some():
    _, prior, votes = planted(8000)
    easy_truth, _, easy = planted(500, seed=1)
    easy = outside(easy.said.argmax(-1).masked_fill(~easy.voted, -1).index_fill(0, torch.tensor([0]), -1), 3)
    trust = learn_trust(votes, prior, easy, easy_truth)
    assert trust.is_known.tolist() == [False, True, True, True]
    assert float(trust.reliability(3)[0]) == pytest.approx(RIGHTS[0], abs=0.025)


def test_agreement_is_no_truth_where_the_models_are_too_sure_of_their_errors():
    _, prior, votes = planted(8000, rights=(0.9,), coverage=(1.0,))
    sure = (prior.log() * 6).softmax(-1)
    trust = learn_trust(votes, sure, *nobody(1, 3))
    assert float(trust.reliability(3)[0]) < 0.8  # it is .9: the page says by what it was found


def test_who_never_votes_changes_no_label():
    _, prior, votes = planted(400)
    silent = OutsideVotes(
        torch.cat([votes.said, torch.full_like(votes.said[:1], 1 / 3)]),
        torch.cat([votes.voted, torch.zeros_like(votes.voted[:1])]),
    )
    easy, easy_truth = nobody(5, 3)
    models = Votes(torch.stack([prior, prior.roll(1, 0)]), torch.tensor([1.0, 0.5]), prior)
    with_silent = with_outside(models, silent, learn_trust(silent, prior, easy, easy_truth))
    without = with_outside(models, votes, learn_trust(votes, prior, *nobody(4, 3)))
    assert torch.equal(with_silent.soft, without.soft)
    assert with_silent.weights[-1] == 0
    for name in ("vote", "majority", "alpha", "dawid-skene", "glws", "co-supervised", "next-round"):
        both = [LABEL_MODELS[name]()(each, lambda labelled: prior) for each in (with_silent, without)]
        assert torch.allclose(both[0].soft, both[1].soft, atol=1e-6), name
        assert torch.equal(both[0].keep, both[1].keep)


@pytest.mark.parametrize("name", [name for name in LABEL_MODELS if name not in READ_JUDGES])
def test_every_label_model_reads_outside_voters(name):
    truth, prior, votes = planted(600)
    models = Votes(prior[None], torch.ones(1), prior)
    both = with_outside(models, votes, learn_trust(votes, prior, *nobody(4, 3)))
    found = LABEL_MODELS[name]()(both, lambda labelled: labelled.soft)
    alone = LABEL_MODELS[name]()(models, lambda labelled: labelled.soft)
    assert torch.allclose(found.soft.sum(-1), torch.ones(600), atol=1e-4)
    assert share_right(found.soft[found.keep], truth[found.keep]) > share_right(alone.soft, truth) + 0.05


def test_dawid_skene_with_abstentions_is_crowd_kits():
    _, _, votes = planted(300, rights=(0.9, 0.8, 0.7, 0.6, 0.8), coverage=(1.0, 0.7, 0.5, 0.9, 0.6))
    answers = votes.said.argmax(-1).masked_fill(~votes.voted, -1)
    rows = [
        {"task": i, "worker": m, "label": answer}
        for m, row in enumerate(answers.tolist())
        for i, answer in enumerate(row)
        if answer >= 0
    ]
    theirs = Reference(n_iter=500, tol=1e-9).fit_predict_proba(pd.DataFrame(rows)).sort_index()
    ours = expectation_maximisation(answers, 3, None, smoothing=0.0, max_steps=500).soft
    assert torch.allclose(ours, torch.tensor(theirs[[0, 1, 2]].to_numpy()), atol=2e-3)


def test_shares_count_those_who_vote_alone():
    answer = torch.tensor([[0, 0, 1], [1, -1, -1], [1, 1, -1]])
    weights = torch.tensor([3.0, 1.0, 0.0])
    assert torch.allclose(vote_share(answer, 2), torch.tensor([[1 / 3, 2 / 3], [0.5, 0.5], [0, 1.0]]).double())
    weighted = vote_share(answer, 2, weights)
    assert torch.allclose(weighted, torch.tensor([[0.75, 0.25], [1.0, 0.0], [0.0, 1.0]]).double())
    last = vote_share(torch.tensor([[-1], [1]]), 2, torch.tensor([1.0, 0.0]))  # the only one left has no weight
    assert torch.allclose(last, torch.tensor([[0.0, 1.0]]).double())


def test_agreement_selects_by_those_who_vote():
    member = torch.tensor([[[0.9, 0.1]] * 2, [[0.1, 0.9]] * 2])
    voted = torch.tensor([[True, True], [True, False]])
    evidence = Evidence(member, member[0], member[0], torch.tensor([0, 0]), lambda: (member[0], member[0]), voted)
    kept = Agreement()(everything(member[0]), evidence).keep
    assert kept.tolist() == [False, True]


def test_arrays_are_taken_and_given_back():
    truth, prior, votes = planted(50)
    easy = OutsideVotes(votes.said.numpy(), votes.voted.numpy())
    trust = learn_trust(easy, prior.numpy(), easy, truth.numpy())
    assert isinstance(trust, Trust)
    assert isinstance(trust.value, np.ndarray)
    assert np.allclose(trust.value, learn_trust(votes, prior, votes, truth).value)
