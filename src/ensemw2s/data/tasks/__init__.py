"""Tasks: one module each."""
