"""The stages of a run, its folder and its log."""
