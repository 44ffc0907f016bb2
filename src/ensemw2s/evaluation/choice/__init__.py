"""Which row to use, and what is said of it."""
