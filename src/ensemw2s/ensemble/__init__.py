"""Ensembles: rounds of experts, the difficulty they rate, the labels they give."""
