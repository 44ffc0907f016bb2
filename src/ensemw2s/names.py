"""Words that settings, records and results share; nothing here needs a tensor library."""

from typing import Literal

Outcome = Literal["continue", "perfect", "no_better_than_prior"]

SINGLE = "single"
"""The ensemble method of one weak expert: what performance gap recovered and gains are measured from."""
INDEPENDENT = "independent"
"""The ensemble method whose members differ by their seed alone: the reference of methods that change more."""
BOOSTING = "boosting"
"""The method of the paper, which the details of a verdict speak of."""
TFIDF = "tf-idf"
"""The weak model that is no pretrained one: logistic regression on weighed words."""
FEATURES = "features:"
"""Before the path of a file of vectors, in the place of a model's name."""
TINY_MODELS = ("tiny", "tiny-vision", "tiny-multimodal")
"""Models of random weights, made here: of text, of pictures, of both."""
