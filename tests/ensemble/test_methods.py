"""Ensemble methods: draws and updates by hand, options from the settings, and a method through the table."""

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from ensemw2s.config import EnsembleConfig, GenerationConfig, parse_config
from ensemw2s.core.boosting import BoostRound
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.ensemble.methods import (
    EnsembleMethod,
    EqualVotes,
    Samples,
    check_methods,
    depths_of,
    expert_stream,
    make_method,
    max_members,
    members_of,
)
from ensemw2s.errors import ConfigError
from ensemw2s.records import WHOLE, View
from ensemw2s.tables import METHODS

CONFIG = EnsembleConfig()
WEIGHTS = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
EXAMPLES = Samples(WEIGHTS, 4)
TOKENS = Samples(WEIGHTS, 2, are_examples=False)
IS_WRONG = torch.tensor([False, True, False, False])


def draw(name, samples=EXAMPLES, round_index=1, seed=0, **settings):
    return make_method(name, EnsembleConfig(**settings)).draw(samples, round_index, seed)


def test_every_built_in_method_has_what_a_method_has():
    for name in METHODS:
        assert isinstance(make_method(name, CONFIG), EnsembleMethod), name


@pytest.mark.parametrize("name", ["single", "independent", "subspace", "layers"])
def test_members_of_undrawn_methods_learn_from_all_rows_alike(name):
    found = draw(name)
    assert found.rows.tolist() == [0, 1, 2, 3]
    assert found.weights.tolist() == [1.0] * 4


def test_bagging_draws_as_many_examples_with_replacement_from_the_member_s_own_stream():
    found = draw("bagging", Samples(torch.full((100,), 0.01, dtype=torch.float64), 100), seed=7)
    assert found.rows.tolist() == torch.randint(100, (100,), generator=stream(7, "draw")).tolist()
    assert (found.weights == 1).all()
    of_answers = draw("bagging", TOKENS, seed=7)
    assert of_answers.rows.tolist() == torch.randint(2, (2,), generator=stream(7, "bootstrap")).tolist()
    assert len(of_answers.weights) == 4


def test_boosting_learns_from_all_rows_alike_first_and_then_weighs_them_with_mean_one():
    assert draw("boosting", round_index=0).weights.tolist() == [1.0] * 4
    later = draw("boosting")
    assert later.rows.tolist() == [0, 1, 2, 3]
    assert later.weights.tolist() == [2.0, 1.0, 0.5, 0.5]
    part = draw("boosting", Samples(WEIGHTS[1:], 3))  # a fold: the weights of its rows are normalised again
    assert part.weights.tolist() == [1.5, 0.75, 0.75]


def test_boosting_by_resampling_repeats_examples_and_weighs_tokens():
    many = torch.cat([torch.full((500,), 0.5 / 500), torch.full((1500,), 0.5 / 1500)]).double()
    rows = draw("boosting", Samples(many, 2000), reweight="resample")
    assert (rows.weights == 1).all()
    counts = torch.bincount(rows.rows, minlength=2000)
    assert int(counts.sum()) == 2000
    assert int(counts[:500].sum()) == pytest.approx(1000, abs=100)
    tokens = draw("boosting", Samples(many, 700, are_examples=False), reweight="resample")
    assert tokens.rows.tolist() == list(range(700))
    assert torch.equal(tokens.weights, counts.float())


def test_boosted_answers_may_be_drawn_too():
    boosting = make_method("boosting", CONFIG, GenerationConfig(bootstrap=True))
    assert boosting.draw(TOKENS, 0, 3).rows.tolist() == [0, 1]
    later = boosting.draw(TOKENS, 1, 3)
    assert later.rows.tolist() == torch.randint(2, (2,), generator=stream(3, "bootstrap")).tolist()
    assert later.weights.tolist() == [2.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "boosting"])
def test_members_of_other_methods_have_one_vote_and_leave_the_weights_alone(name):
    found = make_method(name, CONFIG).update(IS_WRONG, WEIGHTS, 0.5)
    assert found == BoostRound(0.25, 1.0, WEIGHTS, "continue")


def test_boosting_updates_by_its_formula():
    found = make_method("boosting", CONFIG).update(IS_WRONG, WEIGHTS, 0.5)
    assert found.weighted_error == 0.25
    assert found.expert_weight == pytest.approx(math.log(3))
    raised = torch.tensor([0.5, 0.75, 0.125, 0.125], dtype=torch.float64)
    assert torch.allclose(found.sample_weights, raised / 1.5)
    slower = make_method("boosting", EnsembleConfig(shrinkage=0.5, max_expert_weight=1.0))
    slow = slower.update(IS_WRONG, WEIGHTS, 0.5)
    assert slow.expert_weight == 1.0
    raised = torch.tensor([0.5, 0.25 * math.exp(0.5), 0.125, 0.125], dtype=torch.float64)
    assert torch.allclose(slow.sample_weights, raised / raised.sum())
    assert make_method("boosting", CONFIG).update(IS_WRONG, WEIGHTS, 0.2).outcome == "no_better_than_prior"


def test_only_boosting_needs_errors_and_only_views_need_one_pooled_feature():
    assert [name for name in METHODS if METHODS[name].needs_errors] == ["boosting"]
    assert [name for name in METHODS if METHODS[name].needs_pooled_head] == [
        "subspace",
        "layers",
        "contexts",
        "prompted",
    ]


def test_views_by_hand():
    assert make_method("boosting", CONFIG).view(12, 3, 0) == WHOLE
    assert make_method("subspace", EnsembleConfig(feature_share=0.3)).view(12, 3, 0) == View(feature_share=0.3)
    layers = make_method("layers", EnsembleConfig(layer_range=(3, 5)))
    assert {layers.view(5, position, 0).depth for position in range(3)} == {3, 4, None}
    with pytest.raises(ConfigError, match="different depths"):
        make_method("layers", CONFIG).view(0, 0, 0)


def test_streams_are_shared_by_members_that_are_the_same():
    first = stream_seed(0, "expert", "first", 0)
    for name in ("single", "independent", "boosting", "subspace", "layers"):
        assert expert_stream(name, 0, 0) == first
    assert expert_stream("bagging", 0, 0) == stream_seed(0, "expert", "bagging", 0)
    assert expert_stream("subspace", 0, 2) == expert_stream("independent", 0, 2)
    assert expert_stream("boosting", 0, 2) == stream_seed(0, "expert", "boosting", 2)


def test_members_are_counted_by_method():
    config = EnsembleConfig(methods=("single", "independent", "subspace"), n_rounds=3, feature_share=1)
    assert max_members(config) == 1 + 3 + 3
    assert len(members_of(config, 4, 0)) == 7
    assert len(set(members_of(config, 4, 0))) == 3
    assert depths_of(config, 4, (0,)) == set()


# --- a method of another package ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Halving(EqualVotes):
    """Halves the weight of what was answered well."""

    label: ClassVar[str] = "halving ensemble"
    needs_errors: ClassVar[bool] = True

    factor: float = 0.5

    def update(self, is_wrong, sample_weights, prior_error):
        lowered = torch.where(is_wrong, sample_weights, self.factor * sample_weights)
        return BoostRound(float(sample_weights[is_wrong].sum()), 2.0, lowered / lowered.sum(), "continue")


@pytest.fixture
def halving():
    METHODS["halving"] = Halving
    yield
    del METHODS["halving"]


def test_a_new_method_is_known_by_its_name_with_its_options(halving):
    config = EnsembleConfig(methods=("halving",), n_rounds=2, method_options={"halving": {"factor": 0.25}})
    found = make_method("halving", config).update(IS_WRONG, WEIGHTS, 0.5)
    assert found.sample_weights.tolist() == pytest.approx([0.125 / 0.4375, 0.25 / 0.4375, *[0.03125 / 0.4375] * 2])
    assert expert_stream("halving", 0, 1) == stream_seed(0, "expert", "halving", 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"power": 2}, "halving has no 'power'; it has factor"), ({"factor": "much"}, "method_options.halving.factor")],
)
def test_an_option_that_a_method_has_not_is_named(halving, options, words):
    config = EnsembleConfig(methods=("halving",), method_options={"halving": options})
    with pytest.raises(ConfigError, match=words):
        make_method("halving", config)


def test_what_is_no_method_is_named(halving):
    METHODS["halving"] = View
    with pytest.raises(ConfigError, match=r"halving .* is not an ensemble method"):
        make_method("halving", EnsembleConfig(methods=("halving",)))


def test_unknown_methods_and_options_without_a_method_are_named():
    with pytest.raises(ConfigError, match=r"ensemble.methods: there is no 'bosting'; choose among single"):
        parse_config({"ensemble": {"methods": ["bosting"]}})
    with pytest.raises(ConfigError, match="'halving' is not among methods"):
        parse_config({"ensemble": {"method_options": {"halving": {"factor": 1}}}})


@pytest.mark.parametrize("method", ["subspace", "layers"])
def test_parts_of_one_model_are_not_read_of_a_pool(method):
    for weak in (["tiny", "tiny"], "tf-idf"):
        with pytest.raises(ConfigError, match=f"members of {method} read parts of one pretrained model"):
            check_methods(parse_config({"weak": weak, "ensemble": {"methods": ["single", method]}}))


@pytest.mark.parametrize("weak", [{"adapter": "lora"}, {"adapter": "full"}])
def test_views_are_refused_where_there_is_no_pooled_feature(weak):
    with pytest.raises(ConfigError, match=r"weak.adapter: head"):
        check_methods(parse_config({"weak": weak, "ensemble": {"methods": ["single", "layers"]}}))
