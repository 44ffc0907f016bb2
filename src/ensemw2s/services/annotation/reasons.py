"""Reasons for proposed answers, which a pretrained model writes for the people who judge them.

A reason is what that model finds likely to be read there, and no evidence: it is written for a wrong answer as for a
right one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ensemw2s.config import DecodingConfig, ExperimentConfig, ModelConfig
from ensemw2s.data.templates.template import Template
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.forms.classification.weak.writing import Writer
from ensemw2s.forms.role import Role
from ensemw2s.models.language import vocabulary_head
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.prompting import answer_text, prompt_ids
from ensemw2s.services.annotation.tools import CHECKER_REASON, REASON, Row
from ensemw2s.storage.store import Store

STRONG = "strong"
"""The run's own strong model, whole and before any training."""
DECODING = DecodingConfig(max_new_tokens=48, stop=())
SHARD = 32
"""Reasons that are stored together: what a kill can cost."""


@dataclass(frozen=True)
class Explanation:
    """Which reasons are written, and by whom."""

    template: str
    """Jinja over `prompt` and `answer`; it follows the question and the answer."""
    by: str = STRONG
    """A model's name, or `strong`."""
    both: bool = False
    """Whether the checker's answer gets a reason, too, where it is another."""

    @property
    def filled(self) -> Template:
        """The template, ready to be filled. Raises ConfigError where it is malformed or names something else."""
        try:
            template = Template(self.template)
            template.render("--explain", {"prompt": "Is it?", "answer": "yes"})
        except DataError as error:
            raise ConfigError(f"--explain: {error} (it has the columns prompt and answer)") from None
        return template


def with_reasons(
    rows: Sequence[Row], explanation: Explanation, config: ExperimentConfig, store: Store
) -> list[dict[str, Any]]:
    """The rows of a queue, each with the reason for the ensemble's answer before the empty answer.

    Raises:
        ConfigError: the template is no good, or a prompt is too long for the model.
        ModelError: there is no such model, or it cannot write.
    """
    template, columns = explanation.filled, [(REASON, "ensemble")]
    if explanation.both:
        columns.append((CHECKER_REASON, "checker"))
    asked: dict[str, None] = {}
    places: dict[tuple[int, str], str] = {}
    for i, row in enumerate(rows):
        for column, who in columns:
            answer = str(row[who])
            if answer.strip() and (column == REASON or answer != row["ensemble"]):
                filled = template.render(f"item {row['id']!r}", {"prompt": row["prompt"], "answer": answer})
                places[i, column] = f"{row['prompt']}{answer_text(answer)}\n{filled}"
                asked[places[i, column]] = None
    prompts = list(asked)
    reasons = dict(zip(prompts, _write(prompts, explanation.by, config, store), strict=True))
    found: list[dict[str, Any]] = []
    for i, row in enumerate(rows):
        said = {column: reasons[places[i, column]] if (i, column) in places else "" for column, _ in columns}
        found.append({**{name: value for name, value in row.items() if name != "answer"}, **said, "answer": ""})
    return found


def _write(prompts: Sequence[str], by: str, config: ExperimentConfig, store: Store) -> list[str]:
    if not prompts:
        return []
    model = config.strong.model_copy(update={"n_layers": None}) if by == STRONG else ModelConfig(model=by)
    if model.is_tfidf:
        raise ConfigError(f"--explain-by: {by} writes no text; name a language model, or `{STRONG}`")
    backbone = load_backbone(model)
    vocabulary_head(backbone)
    has_turns = bool(getattr(backbone.tokenizer, "chat_template", None))
    chat = model.chat if by == STRONG else has_turns
    _check_lengths(prompts, backbone, chat=chat)
    writer = Writer(Role(model, backbone, 0.0, 0.0), store, SHARD, chat=chat)
    texts = writer.write(prompts, DECODING)
    return [text.partition("\n")[0].strip() for text in texts]


def _check_lengths(prompts: Sequence[str], backbone: Backbone, *, chat: bool) -> None:
    positions = backbone.positions
    longest = max(map(len, prompt_ids(backbone.tokenizer, prompts, chat=chat)))
    if positions is not None and longest + DECODING.max_new_tokens > positions:
        raise ConfigError(
            f"--explain: a question with its answer and the template has {longest:,} tokens, more than the "
            f"{positions:,} positions of {backbone.name} less the {DECODING.max_new_tokens} of a reason; name a model "
            "that reads more (--explain-by), or shorten the template"
        )
