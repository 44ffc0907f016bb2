"""Answers as labels: written, drawn, and decided among."""
