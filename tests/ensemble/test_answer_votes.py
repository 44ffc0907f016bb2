"""Votes on whole answers, against a count by hand and by another way of counting."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ensemw2s.ensemble.words.answer_votes import staged_answers, voted_labels


def said(*experts):
    """By expert and question, from (text, probability)."""
    return [
        [
            {
                "answer": text,
                "confidence": p,
                "agreement": 1.0,
                "members": [text],
                "tokens": [text],
                "token_log_probs": [p],
                "is_finished": True,
            }
            for text, p in expert
        ]
        for expert in experts
    ]


def test_equal_texts_are_one_answer_and_the_heaviest_wins():
    three = said([("Rome", 0.9)], [("Paris", 0.6)], [(" Paris ", 0.5)])
    weights = torch.tensor([2.0, 1.0, 1.0])
    (soft,) = voted_labels(three, weights, "soft")
    assert (soft["answer"], soft["confidence"]) == ("Rome", pytest.approx(2 * 0.9 / 4))
    assert soft["agreement"] == pytest.approx(1 / 3)
    (hard,) = voted_labels(three, torch.tensor([1.9, 1.0, 1.0]), "hard")
    assert (hard["answer"], hard["confidence"]) == ("Paris", pytest.approx(2 / 3.9))
    assert hard["members"] == ["Rome", "Paris", "Paris"]
    assert hard["token_log_probs"] == [0.6]


def test_of_equals_the_first_wins_and_silence_abstains():
    tied = said([("a", 0.5), ("", 0.9)], [("b", 0.5), ("b", 0.1)])
    assert [label["answer"] for label in voted_labels(tied, torch.ones(2), "soft")] == ["a", "b"]
    silent, spoken = voted_labels(said([("", 0.9), ("", 0.9)], [("", 0.8), ("c", 0.1)]), torch.ones(2), "hard")
    assert (silent["answer"], silent["agreement"]) == ("", 1.0)
    assert (spoken["answer"], spoken["confidence"]) == ("c", 0.5)


def test_one_expert_is_the_plain_model():
    one = said([("x", 0.7), ("y", 0.2)])
    assert voted_labels(one, torch.tensor([1.3]), "soft") == [
        label | {"confidence": pytest.approx(label["confidence"])} for label in one[0]
    ]


experts = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from([0.25, 0.5, 1.0])), min_size=3, max_size=3
    ),
    min_size=1,
    max_size=5,
)


@given(experts, st.data(), st.sampled_from(["soft", "hard"]))
def test_every_stage_is_the_vote_of_its_experts_alone(each, data, vote):
    weights = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=len(each), max_size=len(each)))
    winners, shares = staged_answers(said(*each), torch.tensor(weights), vote)
    for t in range(1, len(each) + 1):
        taken = weights[:t] if any(weights[:t]) else [1.0] * t
        for i in range(3):
            heard: dict[str, float] = {}
            for (text, p), weight in zip((expert[i] for expert in each[:t]), taken, strict=True):
                heard[text] = heard.get(text, 0.0) + weight * (p if vote == "soft" else 1.0)
            best = max(heard, key=lambda text: (bool(text), heard[text]))
            assert each[winners[t - 1, i]][i][0] == best
            assert shares[t - 1, i] == pytest.approx(heard[best] / sum(taken))
