"""Streaming readers, one to a file format."""
