"""Folders of students and ensembles, written and loaded."""
