"""The page and the tables of a run: pure functions of its results."""
