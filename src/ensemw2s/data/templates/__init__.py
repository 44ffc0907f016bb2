"""Prompt templates: a bounded part of Jinja, rendered row by row."""
