"""Label files of any length with a saved ensemble."""
