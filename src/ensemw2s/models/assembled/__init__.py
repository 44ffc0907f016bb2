"""Trained parts put into the library's own models."""
