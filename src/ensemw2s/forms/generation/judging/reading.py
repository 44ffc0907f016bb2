"""What a judge reads: a question with an answer, as tokens of the strong model."""

from collections.abc import Sequence
from typing import Any

from ensemw2s.data.encode import encode, encode_answers
from ensemw2s.forms.generation.role import AnswerRole
from ensemw2s.records import AnswerTokens


def read_by(role: AnswerRole, prompts: Sequence[str], answers: Sequence[str]) -> AnswerTokens:
    """Each prompt with its answer, as the model's tokens. Raises DataError where one is too long or empty."""
    names = [f"a judge's question {prompt!r:.60}" for prompt in prompts]
    given = {"max_length": role.config.max_length, "positions": role.backbone.positions, "chat": role.config.chat}
    ids = encode(role.backbone.tokenizer, prompts, names=names, **given)
    return encode_answers(role.backbone.tokenizer, ids, answers, names=names, **given)


def judging(role: AnswerRole) -> dict[str, Any]:
    """What of a model decides what it says as a judge: its cut and its weights, and no adapter."""
    backbone, config = role.backbone, role.config
    return {
        "weights": backbone.fingerprint,
        "n_layers": backbone.n_layers,
        "dtype": str(backbone.dtype),
        "chat": config.chat,
    }
