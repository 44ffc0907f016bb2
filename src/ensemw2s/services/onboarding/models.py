"""Whether the models of a configuration are there, before anything is downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass

from ensemw2s.config import ExperimentConfig, ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.checkpoint import local_copy, resolvable, weight_files
from ensemw2s.models.loading.fetch import KNOWN
from ensemw2s.models.loading.hub import check_offered
from ensemw2s.models.loading.load import n_layers_of


@dataclass(frozen=True)
class FoundModels:
    """What is known of a configuration's models."""

    described: Mapping[str, str]
    """Setting to a phrase on the model."""
    layers: Mapping[str, int]
    """Setting to the number of layers that are used, of the models that are on this machine."""
    notes: tuple[str, ...]
    """What the user must hear."""


def find_models(config: ExperimentConfig) -> FoundModels:
    """Look for every model, on this machine or else on the hub. Nothing is downloaded.

    Raises:
        ModelError: there is no such model, it has no safetensors, fewer layers than asked for, or cannot be read.
    """
    described: dict[str, str] = {}
    layers: dict[str, int] = {}
    notes: list[str] = []
    for setting, model in config.models:
        if model.is_tfidf:
            described[setting] = "TF-IDF with logistic regression"
        elif (here := local_copy(model)) is not None:
            weight_files(model, here[1])
            layers[setting], n_all = n_layers_of(here[0])
            cut = f"first {layers[setting]} of {n_all} layers" if layers[setting] < n_all else f"{n_all} layers"
            described[setting] = f"{model.model}, {cut}, on this machine"
        else:
            described[setting] = f"{model.model}, {_elsewhere(setting, model, notes)}"
    return FoundModels(described, layers, tuple(notes))


def _elsewhere(setting: str, model: ModelConfig, notes: list[str]) -> str:
    resolvable(model)
    if model.model in KNOWN:
        return f"not on this machine: `run` or `ensemw2s fetch {model.model}` gets it"
    try:
        answers = check_offered(model.model, revision=model.revision)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{setting}.model: {model.model} is neither a folder here nor a model that the hub gives ({reason}); check "
            "the name and the revision, or name a local folder"
        ) from None
    if answers:
        return "on the hub: `run` downloads it"
    notes.append(f"{setting}.model: {model.model} is not on this machine, and the hub does not answer")
    return "not on this machine"
