"""The same experiment where questions are answered in words: preparation, stages, evaluation, delivery."""
