"""Students, ensembles and labels, pushed to the model hub."""
