"""Questions answered by a class."""
