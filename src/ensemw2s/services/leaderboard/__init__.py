"""Many methods on many tasks, and finished runs side by side."""
