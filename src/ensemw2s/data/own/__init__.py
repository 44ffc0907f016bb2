"""A user's own files: options, pairs, labels, leaking columns, and what the columns suggest."""
