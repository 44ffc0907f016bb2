"""The runs and leaderboards of a folder, in a browser."""
