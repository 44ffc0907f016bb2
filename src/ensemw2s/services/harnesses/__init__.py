"""A run's student or ensemble as a model of other packages' evaluation harnesses."""
