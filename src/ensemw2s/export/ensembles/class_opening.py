"""A saved ensemble of classifiers, opened with its models."""

from collections.abc import Sequence

from torch import Tensor

from ensemw2s.config import ModelConfig
from ensemw2s.ensemble.learners.prompted import OFFSET
from ensemw2s.ensemble.learners.tfidf import TfidfModel
from ensemw2s.errors import ModelError
from ensemw2s.export.ensembles.class_labeller import (
    Asked,
    ClassLabeller,
    ClassModel,
    ContextModel,
    NoStore,
    PooledModel,
    WordModel,
    load_adapter,
)
from ensemw2s.export.ensembles.ensemble_folder import SavedEnsemble
from ensemw2s.export.ensembles.ensemble_record import ChoiceEnsemble, SavedModel
from ensemw2s.export.ensembles.saved_models import check_weights, fitting, open_backbone
from ensemw2s.hashing import canonical_hash
from ensemw2s.models.adapting.adapters import Adapter
from ensemw2s.models.likelihood import choice_likelihood
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.pictures.load import open_pictures
from ensemw2s.models.pictures.reading import PictureReader, open_picture_reader
from ensemw2s.models.pooled import PooledTrunk, Trunk
from ensemw2s.models.probes.classifier import check_classifier
from ensemw2s.models.vectors import VectorFile

Model = ClassModel | ContextModel | WordModel | PooledModel


def open_class_labeller(saved: SavedEnsemble, record: ChoiceEnsemble, vectors: VectorFile | None) -> ClassLabeller:
    """The ensemble with its models.

    Args:
        vectors: what its experts read, where they read vectors of a file.

    Raises:
        ModelError: a model is not what the experts were trained on, or they do not fit it.
    """
    models, pictures = list[Model](), list[PictureReader]()
    for model, own in zip(saved.models, saved.experts_of, strict=True):
        states = [saved.states[expert] for expert in own]
        if model.config.is_tfidf:
            with fitting(saved, model):
                models.append(WordModel(tuple(TfidfModel(state, len(record.choices)) for state in states)))
        elif model.config.is_features:
            assert vectors is not None, "asked before"
            with fitting(saved, model):
                whole = vectors.cut(model.config.n_layers or vectors.n_layers)
                models.append(_on_vectors(saved, record, model.config, whole, own))
        elif (trunk := open_pictures(model.config)) is not None:
            check_weights(saved, model, trunk)
            pictures.append(open_picture_reader(model.config))
            with fitting(saved, model):
                models.append(_on_vectors(saved, record, model.config, trunk, own))
        else:
            models.append(_on_text(saved, record, model, own))
    readers = tuple(model.tokens for model in models if isinstance(model, ClassModel | ContextModel))
    fingerprint = saved.fingerprint if vectors is None else canonical_hash([saved.fingerprint, vectors.fingerprint])
    return ClassLabeller(
        fingerprint,
        readers,
        saved.weights,
        record,
        tuple(models),
        saved.voting_order,
        saved.gate,
        pictures=tuple(pictures),
    )


def _on_text(
    saved: SavedEnsemble, record: ChoiceEnsemble, model: SavedModel, own: Sequence[int]
) -> ClassModel | ContextModel:
    """A language model with the experts that read it."""
    states = [saved.states[expert] for expert in own]
    backbone, reader = open_backbone(saved, model)
    depths = None if record.depths is None else tuple(record.depths[expert] for expert in own)
    with fitting(saved, model):
        if too_deep := [depth for depth in depths or () if depth is not None and depth > backbone.n_layers]:
            raise ModelError(f"an expert reads after {too_deep[0]} layers, and the model has {backbone.n_layers}")
        _check_gate(saved, backbone)
        check_classifier(model.config, backbone, NoStore(), is_exported=False)
        if record.contexts is not None:
            experts = tuple(_expert(model.config, backbone, record, state) for state in states)
            return ContextModel(reader, backbone, experts, record.contexts)
        adapters = tuple(load_adapter(model.config, backbone, len(record.choices), state) for state in states)
    return ClassModel(reader, model.config, backbone, adapters, depths)


def _on_vectors(
    saved: SavedEnsemble, record: ChoiceEnsemble, config: ModelConfig, whole: PooledTrunk, own: Sequence[int]
) -> PooledModel:
    """A model that gives vectors, with the experts that read them. Raises ModelError where a depth or size differs."""
    _check_gate(saved, whole)
    depths = [(record.depths[expert] if record.depths else None) or whole.n_layers for expert in own]
    whole.prove(sorted(set(depths)))
    each = zip(depths, (saved.states[expert] for expert in own), strict=True)
    unset = config.model_copy(update={"n_layers": None})  # an expert's own depth is the trunk's
    adapters = tuple(load_adapter(unset, whole.cut(depth), len(record.choices), state) for depth, state in each)
    return PooledModel(whole, adapters, tuple(depths))


def _check_gate(saved: SavedEnsemble, trunk: Trunk) -> None:
    """Raises ModelError where the gate reads features of another size."""
    if saved.gate is not None and len(saved.gate.mean) != trunk.feature_size:
        raise ModelError(
            f"its gate reads a feature of {len(saved.gate.mean)} numbers, and the model's has {trunk.feature_size}"
        )


def _expert(
    config: ModelConfig, backbone: Backbone, record: ChoiceEnsemble, state: dict[str, Tensor]
) -> Adapter | Asked:
    """An expert that reads a context. Raises ModelError where its tensors are none of one."""
    if not record.is_prompted:
        return load_adapter(config, backbone, len(record.choices), state)
    offset = state.get(OFFSET)
    if state.keys() != {OFFSET} or offset is None or offset.shape != (len(record.choices),):
        raise ModelError(f"an expert that is asked has the one tensor {OFFSET}, of a value for each choice")
    return Asked(choice_likelihood(backbone, config.model, record.choices, reads_shared=True), offset)
