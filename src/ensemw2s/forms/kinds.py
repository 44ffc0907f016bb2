"""Whether the models of a run read the kind of prompts that its task has: text, pictures, or both."""

from collections.abc import Sequence

from ensemw2s.config import ExperimentConfig, ModelConfig
from ensemw2s.errors import ConfigError
from ensemw2s.examples import Example
from ensemw2s.models.pictures.kind import check_prompts, kind_of
from ensemw2s.names import TFIDF
from ensemw2s.pictures import has_picture


def reads_text(model: ModelConfig) -> bool:
    """Whether it is a pretrained model of text alone. Raises ModelError."""
    return not model.is_tfidf and not model.is_features and kind_of(model) == "text"


def check_kinds(config: ExperimentConfig, examples: Sequence[Example]) -> None:
    """Costs no weight of a model.

    Raises:
        ModelError, DataError: as `check_prompts`.
        ConfigError: TF-IDF shall read pictures, or answers to them shall be generated.
    """
    prompts, ids = [e.prompt for e in examples], [e.id for e in examples]
    picture = next((place for place, prompt in enumerate(prompts) if has_picture(prompt)), None)
    if picture is not None and config.is_generation:
        raise ConfigError(
            f"task: the example {ids[picture]!r} holds a picture, and of pictures models choose a class alone; set "
            "answer_form: choice, or leave pictures out of the prompts"
        )
    for name, model in config.models:
        if model.is_tfidf and picture is not None:
            raise ConfigError(
                f"{name}.model: {TFIDF} weighs words, and the example {ids[picture]!r} holds a picture; name a vision "
                "model, or a file of vectors as features:PATH"
            )
        if not model.is_tfidf and not model.is_features:
            check_prompts(model, ids, prompts)
