"""Which share of a merged change is taken."""

from ensemw2s.forms.merging import best_scale


def test_the_best_scale_is_taken_and_the_first_of_those_that_differ_in_rounding():
    assert best_scale([0.1, 0.2, 0.15]) == 0.5
    assert best_scale([0.1, 0.05, 0.15]) == 1.5
    assert best_scale([-0.3, -0.3 + 1e-9, -0.3 + 1e-8]) == 1.0
