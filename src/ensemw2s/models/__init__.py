"""Pretrained models: fetched, cut, run once as a trunk, adapted, and exported."""
