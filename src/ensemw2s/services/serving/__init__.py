"""Answers over HTTP, as OpenAI's interface gives them."""
