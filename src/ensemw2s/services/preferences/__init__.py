"""Pairs of a better and a worse answer, handed to other trainers."""
