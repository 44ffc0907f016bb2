"""From a model's name to a loaded, checked and frozen backbone."""
