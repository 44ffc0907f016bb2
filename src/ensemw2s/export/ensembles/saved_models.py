"""The models of a saved ensemble, opened as the experts were trained on them."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedTokenizerBase

from ensemw2s.errors import ModelError
from ensemw2s.export.ensembles.ensemble_folder import AGAIN, SavedEnsemble
from ensemw2s.export.ensembles.ensemble_record import SavedModel
from ensemw2s.export.ensembles.prompt_reader import Tokens
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.pooled import Trunk
from ensemw2s.prompting import prompt_ids


def open_backbone(saved: SavedEnsemble, model: SavedModel) -> tuple[Backbone, Tokens]:
    """A language model, and how it reads. Raises ModelError where it is not what the experts were trained on."""
    config = model.config
    backbone = load_backbone(config)
    check_weights(saved, model, backbone)
    longest = saved.max_length(config, backbone.positions) - context_tokens(saved, backbone.tokenizer)
    return backbone, Tokens(backbone.tokenizer, config.chat, longest, backbone.n_tokens)


def check_weights(saved: SavedEnsemble, model: SavedModel, trunk: Trunk) -> None:
    """Raises ModelError where a model is not what the experts were trained on."""
    if trunk.fingerprint != model.fingerprint:
        raise ModelError(
            f"{model.config.model}: these are not the weights that the experts of {saved.folder} were trained on "
            f"({trunk.fingerprint[:12]}, not {model.fingerprint[:12]}); restore that model"
        )


def context_tokens(saved: SavedEnsemble, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens of the longest text that an expert reads before a prompt."""
    return max((len(ids) for ids in prompt_ids(tokenizer, saved.record.contexts or ())), default=0)


@contextmanager
def fitting(saved: SavedEnsemble, model: SavedModel) -> Iterator[None]:
    """Say of a ModelError within that the experts do not fit this model."""
    try:
        yield
    except ModelError as error:
        name = model.config.model
        raise ModelError(f"{saved.folder}: its experts do not fit the model {name}: {error}; {AGAIN}") from None
