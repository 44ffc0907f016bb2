"""Whether the models of a configuration are there, before anything is downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass

from ensemw2s.config import ExperimentConfig, ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.checkpoint import local_copy, resolvable, weight_files
from ensemw2s.models.loading.fetch import KNOWN
from ensemw2s.models.loading.hub import check_offered, downloaded
from ensemw2s.models.loading.load import n_layers_of
from ensemw2s.models.vectors import open_vectors


@dataclass(frozen=True)
class FoundModel:
    """What is known of one model."""

    described: str
    """A phrase on it."""
    n_layers: int | None = None
    """That are used, where it is on this machine."""
    note: str = ""
    """What the user must hear."""


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
    found = {setting: find_model(setting, model) for setting, model in config.models}
    return FoundModels(
        {setting: each.described for setting, each in found.items()},
        {setting: each.n_layers for setting, each in found.items() if each.n_layers is not None},
        tuple(each.note for each in found.values() if each.note),
    )


def find_model(setting: str, model: ModelConfig) -> FoundModel:
    """Look for one model. Raises ModelError as `find_models`."""
    if model.is_tfidf:
        return FoundModel("TF-IDF with logistic regression")
    if model.is_features:
        vectors = open_vectors(model)
        return FoundModel(f"{model.model}, {vectors.depth_text}, {len(vectors.places):,} examples", vectors.n_layers)
    if (here := local_copy(model)) is not None:
        weight_files(model, here[1])
        n_used, n_all = n_layers_of(here[0])
        cut = f"first {n_used} of {n_all} layers" if n_used < n_all else f"{n_all} layers"
        return FoundModel(f"{model.model}, {cut}, on this machine", n_used)
    resolvable(model)
    if model.model in KNOWN:
        get = f"`run` or `ensemw2s fetch {model.model}` gets it"
        return FoundModel(f"{model.model}, not on this machine: {get}")
    try:
        answers = check_offered(model.model, revision=model.revision)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{setting}.model: {model.model} is neither a folder here nor a model that the hub gives ({reason}); check "
            "the name and the revision, or name a local folder"
        ) from None
    if answers:
        return FoundModel(f"{model.model}, on the hub: `run` downloads it")
    note = f"{setting}.model: {model.model} is not on this machine, and the hub does not answer"
    return FoundModel(f"{model.model}, not on this machine", note=note)


def suggestions(*, writes: bool) -> list[str]:
    """Names of models that may serve: those that `ensemw2s fetch` knows, then the hub's on this machine, smaller first.

    Args:
        writes: whether they shall answer in words.
    """
    known = [name for name, model in KNOWN.items() if model.writes or not writes]
    return list(dict.fromkeys([*known, *downloaded()]))
