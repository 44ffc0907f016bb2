"""Frozen models that read pictures: vision trunks, and multimodal models, whose prompts hold text beside pictures."""
