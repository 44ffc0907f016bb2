"""Who judges which of several answers is better, and what is chosen so."""
