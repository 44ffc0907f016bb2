"""Ensembles in folders: written, opened with their models, and labelling."""
