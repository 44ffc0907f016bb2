"""The whole experiment: stages, the store they share, and the run folder."""
