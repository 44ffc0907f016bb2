"""Settings of decoding held against the training answers: a default cuts none of them, a setting that does is named."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from ensemw2s.config import DecodingConfig, DecodingSettings
from ensemw2s.errors import DataError
from ensemw2s.prompting import answer_text


def check_stop(settings: DecodingSettings, answers: Sequence[str]) -> None:
    """Refuse texts that end an answer and are in the answers to be learned.

    Raises:
        DataError: every label that the models write would be cut where its answer holds one.
    """
    for text in settings.stop if settings.stop != "auto" else ():
        if cut := [answer for answer in answers if text in answer_text(answer)]:
            raise DataError(
                f"generation.decoding.stop: {text!r} is in {len(cut):,} of the {len(answers):,} training answers (such "
                f"as {cut[0]!r:.80}), so what the models write would be cut there; leave stop out (auto), or choose "
                "a text that no answer holds"
            )


def fit_decoding(
    settings: DecodingSettings, answers: Sequence[str], tokenizers: Sequence[tuple[PreTrainedTokenizerBase, bool]]
) -> tuple[DecodingConfig, list[str]]:
    """What decodes the answers that these train to write, and a sentence where it cuts some.

    Args:
        tokenizers: of the models that write, each with whether it is asked in chat turns.

    Raises:
        DataError: as `check_stop`.
    """
    check_stop(settings, answers)
    lengths = [0] * len(answers)
    for tokenizer, chat in tokenizers:
        texts = [answer_text(answer, chat=chat) for answer in answers]
        encoded = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        lengths = [max(n, len(ids) + 1) for n, ids in zip(lengths, encoded, strict=True)]
    longest = max(lengths, default=0)
    decoding = settings.fitted(answers, longest)
    n_cut = sum(n > decoding.max_new_tokens for n in lengths)
    if not n_cut:
        return decoding, []
    return decoding, [
        f"generation.decoding.max_new_tokens ({decoding.max_new_tokens}) is less than {n_cut:,} of the "
        f"{len(answers):,} training answers have (up to {longest:,} tokens), so what the models write is cut there; "
        "raise it, or leave it out (auto)"
    ]
