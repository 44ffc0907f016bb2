"""Fixtures of models and their folders."""

from model_fixtures import *  # noqa: F403
