"""The stages where questions are answered in text."""
