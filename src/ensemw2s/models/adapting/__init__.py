"""What is trained on a frozen model: heads, upper layers, low-rank updates; and its merging."""
