"""From predictions and truth to figures with intervals."""
