"""Several processes: those of one launch, and workers through Ray."""
