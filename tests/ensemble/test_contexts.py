"""Contexts as text, and members that are asked behind one."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ensemw2s.config import EnsembleConfig, parse_config
from ensemw2s.config.context import ContextConfig
from ensemw2s.ensemble.contexts import CONTEXTS, ContextSource, dealt_demonstrations
from ensemw2s.ensemble.learners.prompted import PromptedLearner
from ensemw2s.ensemble.methods import check_methods
from ensemw2s.errors import ConfigError
from ensemw2s.estimators.weak_ensemble import WeakEnsemble
from ensemw2s.forms.classification.strong.in_context import most_confident
from ensemw2s.records import View
from ensemw2s.tables import METHODS

SAID = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
ROWS = torch.arange(20)


def source(n=5, n_members=4, per_class=10, seed=0, **context) -> ContextSource:
    labels = torch.arange(3 * per_class) % 3
    prompts = [f"question {i}?" for i in range(len(labels))]
    return ContextSource(ContextConfig(n=n, **context), prompts, labels, ("a", "b", "c"), n_members, seed)


def asked(said=SAID, target=None, calibrate="mean"):
    target = torch.nn.functional.one_hot(ROWS % 3, 3).float() if target is None else target
    learner = PromptedLearner(lambda context, rows: said[rows], calibrate).adapted(ROWS, View(context=2), 0)
    return learner.fit(ROWS, target, torch.ones(len(ROWS)), seed=0)


def test_demonstrations_are_balanced_and_no_two_members_share_one():
    given = source()
    dealt = dealt_demonstrations(given)
    assert [len(places) for places in dealt] == [5] * 4
    assert len({place for places in dealt for place in places}) == 20
    for places in dealt:
        counts = given.labels[places].bincount(minlength=3)
        assert int(counts.max() - counts.min()) <= 1
    assert dealt[:2] == dealt_demonstrations(source(n_members=2))
    assert dealt != dealt_demonstrations(source(seed=1))


def test_a_context_of_demonstrations_is_questions_with_their_answers_and_blank_lines():
    given = source(n=2)
    text = CONTEXTS["demonstrations"](given, 1).prefix
    expected = [f"question {i}? {given.choices[i % 3]}\n\n" for i in dealt_demonstrations(given)[1]]
    assert text == "".join(expected)


def test_a_pool_that_leaves_too_few_demonstrations_is_named():
    with pytest.raises(ConfigError, match=r"4 members read 5 .* 7 of them of the class 'a', .* 6 .* split.n_easy_pool"):
        dealt_demonstrations(source(per_class=6))


def test_a_principle_stands_before_the_question_and_an_empty_one_leaves_it_alone():
    given = source(kind="principles", principles=("Think.", ""))
    assert [CONTEXTS["principles"](given, t).prefix for t in (0, 1)] == ["Think.\n\n", ""]


def test_calibration_is_blind_to_what_a_context_makes_of_a_class():
    moved = asked(SAID + torch.tensor([3.0, -1.0, 0.5]))
    torch.testing.assert_close(moved.log_probs(torch.arange(40)), asked().log_probs(torch.arange(40)))


def test_without_calibration_the_likelihood_is_given_to_the_bit():
    assert torch.equal(asked(calibrate="none").log_probs(torch.arange(40)), SAID)


def test_calibrated_classes_are_as_likely_on_average_as_they_are_frequent():
    # A model that says the same of everything is left with the classes' shares, with one more example of each.
    target = torch.nn.functional.one_hot(torch.tensor([0] * 15 + [1] * 5), 3).float()
    said = torch.tensor([0.2, 0.3, 0.5]).log().expand(40, 3)
    (found, *_) = asked(said, target).log_probs(torch.arange(40)).exp()
    assert found.tolist() == pytest.approx([16 / 23, 6 / 23, 1 / 23])


def test_the_two_methods_differ_in_what_is_trained_alone():
    assert METHODS["contexts"].learns
    assert not METHODS["prompted"].learns
    for name in ("contexts", "prompted"):
        assert METHODS[name]().view(12, 3, 0) == View(context=3)


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ({"kind": "principles", "principles": ["a"]}, r"1 sentences for 4 members"),
        ({"principles": ["a"]}, "no part in kind: demonstrations"),
        ({"kind": "demos"}, "demonstrations"),
    ],
)
def test_settings_of_contexts_that_do_not_fit_are_named(context, words):
    with pytest.raises(ConfigError, match=words):
        parse_config({"ensemble": {"n_rounds": 4, "context": context}})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weak": {"chat": True}}, "weak.chat: false"),
        ({"weak": ["tiny", "tf-idf"]}, "a pool of 2"),
        ({"weak": {"adapter": "lora"}}, "weak.adapter: head"),
    ],
)
@pytest.mark.parametrize("method", ["contexts", "prompted"])
def test_models_that_cannot_read_contexts_are_refused_by_name(method, changes, words):
    with pytest.raises(ConfigError, match=words):
        check_methods(parse_config({"ensemble": {"methods": [method]}} | changes))


def test_settings_of_contexts_count_only_where_they_are_used():
    assert "context" not in EnsembleConfig().model_dump()
    assert "context" in EnsembleConfig(context=ContextConfig(n=2)).model_dump()


def test_the_surest_labels_are_shown_a_class_after_the_other():
    soft = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.95, 0.05]])
    assert most_confident(soft, 2) == [4, 2]
    assert most_confident(soft, 4) == [4, 0, 1, 2]  # the one label of the second class, and no other


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strong": {"chat": True}}, "strong.chat: false"),
        ({"split": {"n_hard_unlabelled": 4}}, r"in_context \(8\) exceeds split.n_hard_unlabelled \(4\)"),
        (
            {"task": {"name": "svamp", "path": "x"}, "weak": {"adapter": "top"}, "strong": {"adapter": "top"}},
            "answered in words",
        ),
    ],
)
def test_labels_that_cannot_be_shown_are_refused_by_name(changes, words):
    recipes = {"recipes": [{"labels": "hard"}], "in_context": 8}
    with pytest.raises(ConfigError, match=words):
        parse_config({"students": recipes} | changes)


@pytest.mark.parametrize("method", ["contexts", "prompted"])
@pytest.mark.parametrize("weak", ["tiny", LogisticRegression()])
def test_an_estimator_has_no_examples_of_a_run_to_read_before_a_text(method, weak):
    texts = [f"Is {n} above 5?" for n in range(12)]
    X = texts if weak == "tiny" else [[n] for n in range(12)]
    with pytest.raises(ConfigError, match="method: "):
        WeakEnsemble(weak, method=method, n_rounds=2, random_state=0).fit(X, [n > 5 for n in range(12)])
