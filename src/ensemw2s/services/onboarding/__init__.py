"""From a user's files to a valid configuration."""
