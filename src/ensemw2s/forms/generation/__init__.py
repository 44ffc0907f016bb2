"""Questions answered by generated text."""
