"""Learning which of two answers is better: where pairs come from, and the losses on them."""

from ensemw2s.core.preferences.losses import PairBatch, PreferenceLoss, expected_loss
from ensemw2s.core.preferences.pairings import Pair, Pairing, Question

__all__ = ["Pair", "PairBatch", "Pairing", "PreferenceLoss", "Question", "expected_loss"]
