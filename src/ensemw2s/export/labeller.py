"""A saved ensemble that labels prompts, by a class or by generation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.config import ModelConfig
from ensemw2s.ensemble.learners.prompted import OFFSET
from ensemw2s.ensemble.learners.tfidf import TfidfModel
from ensemw2s.ensemble.words.answer_votes import token_vote, voted_labels
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.prefixes import PrefixMembers
from ensemw2s.ensemble.words.write import write_answers
from ensemw2s.errors import ModelError
from ensemw2s.export.class_labeller import (
    Asked,
    ClassLabeller,
    ClassModel,
    ContextModel,
    NoStore,
    VectorModel,
    WordModel,
    load_adapter,
)
from ensemw2s.export.ensemble_folder import AGAIN, SavedEnsemble, read_ensemble
from ensemw2s.export.ensemble_record import AnswerEnsemble, ChoiceEnsemble, SavedModel
from ensemw2s.export.prompt_reader import PromptReader, Tokens, origin_of
from ensemw2s.export.vector_student import given_vectors
from ensemw2s.hashing import canonical_hash
from ensemw2s.models.adapting.adapters import Adapter
from ensemw2s.models.language import AnswerModel, load_answer_model, untrained_answer_model, vocabulary_head
from ensemw2s.models.likelihood import choice_likelihood
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.load import load_backbone, load_settings
from ensemw2s.models.loading.positions import positions_of
from ensemw2s.models.loading.tokenizer import load_tokenizer
from ensemw2s.models.pictures.kind import kind_of
from ensemw2s.models.probes.classifier import check_classifier
from ensemw2s.models.vectors import VectorFile
from ensemw2s.models.vocabulary import VocabularyHead
from ensemw2s.prompting import prefix_ids, prompt_ids


@dataclass(frozen=True)
class GenerationLabeller(PromptReader):
    """Generates answers with an ensemble that votes on every token, or of a pool on whole answers.

    It holds no backbone, so that the pretrained layers that the experts' copies replace are freed.
    """

    record: AnswerEnsemble
    members: tuple[SharedTrunk | PrefixMembers, ...]
    """The experts of each model."""
    order: tuple[int, ...]
    """Of the experts that the models have, one model's after the other's: which one votes first, second and so on."""

    def label(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """Labels of `ensemble.write.write_answers` with the experts' ids and weights and the configuration's hash."""
        if self.record.models is None:
            labels = self._written(0, self.members[0], self.expert_weights, prompts)
        else:
            by_model = [
                self._written(place, members.alone(t), torch.ones(1), prompts)
                for place, members in enumerate(self.members)
                for t in range(members.n_members)
            ]
            labels = voted_labels([by_model[place] for place in self.order], self.expert_weights, self.record.vote)
        return [{**label, **origin_of(self.record)} for label in labels]

    def _written(
        self,
        place: int,
        members: SharedTrunk | PrefixMembers,
        weights: Float[Tensor, " experts"],
        prompts: Sequence[str],
    ) -> list[dict[str, Any]]:
        reader = self.readers[place]
        # The prompt seeds a row's random draws, so that they depend on nothing else.
        return write_answers(
            members,
            weights,
            reader.tokenizer,
            reader.encode(prompts),
            self.record.decoding,
            vote=token_vote(self.record.vote),
            row_ids=list(prompts),
        )


def open_reader(path: Path, *, trusted: str | None = None) -> PromptReader:
    """Open an ensemble for reading prompts alone, for a process whose workers do the labelling.

    Raises:
        RunError, ModelError, ConfigError: as `open_labeller`.
    """
    saved, readers = read_ensemble(path, trusted=trusted), list[Tokens]()
    for model in saved.models:
        if not (model.config.is_tfidf or model.config.is_features):
            _check_reads_text(path, model.config)
            settings = load_settings(model.config)
            tokenizer = load_tokenizer(model.config)
            longest = saved.max_length(model.config, positions_of(settings)) - _context_tokens(saved, tokenizer)
            readers.append(Tokens(tokenizer, model.config.chat, longest, settings.vocab_size))
    return PromptReader(saved.fingerprint, tuple(readers), saved.weights, saved.record)


def open_labeller(
    path: Path, *, trusted: str | None = None, features: Path | None = None
) -> GenerationLabeller | ClassLabeller:
    """Open the ensemble of a run folder, or of an `ensemble` folder itself, with its models.

    Args:
        path: the folder.
        trusted: repository whose own code may run (`ensemble_folder.read_ensemble`).
        features: file of the vectors that its experts read, where they read any; rows are then named (`naming`).

    Raises:
        RunError: there is no saved ensemble, or its files are damaged.
        ModelError: its record is wrong, or the weak model is not the one that the experts were trained on; it reads
            vectors and there is no file of them, or the other way round.
        ConfigError: `trusted` is not the weak model.
    """
    saved = read_ensemble(path, trusted=trusted)
    record = saved.record
    reads_vectors = any(model.config.is_features for model in saved.models)
    if reads_vectors and features is None:
        raise ModelError(f"{saved.folder}: its experts read vectors; give a file of the rows' own: --features FILE")
    if features is not None and not reads_vectors:
        raise ModelError(f"{saved.folder}: its experts read prompts and no vectors; leave --features out")
    if isinstance(record, ChoiceEnsemble):
        return _class_labeller(saved, record, None if features is None else given_vectors(features))
    return _generation_labeller(saved, record)


def _generation_labeller(saved: SavedEnsemble, record: AnswerEnsemble) -> GenerationLabeller:
    readers: list[Tokens] = []
    members: list[SharedTrunk | PrefixMembers] = []
    for model, own in zip(saved.models, saved.experts_of, strict=True):
        backbone, reader = _opened(saved, model)
        with _fitting(saved, model):
            head = vocabulary_head(backbone)
            models = [_answer_model(backbone, head, model.config, record, saved.states[expert]) for expert in own]
        readers.append(reader)
        shared = SharedTrunk(backbone, models)
        if record.contexts is None:
            members.append(shared)
            continue
        prefixes = [prefix_ids(reader.tokenizer, text) for text in record.contexts]
        members.append(PrefixMembers(shared, [ids for ids, _ in prefixes], max(n_start for _, n_start in prefixes)))
    return GenerationLabeller(
        saved.fingerprint, tuple(readers), saved.weights, record, tuple(members), saved.voting_order
    )


def _class_labeller(saved: SavedEnsemble, record: ChoiceEnsemble, vectors: VectorFile | None) -> ClassLabeller:
    models: list[ClassModel | ContextModel | WordModel | VectorModel] = []
    for model, own in zip(saved.models, saved.experts_of, strict=True):
        states = [saved.states[expert] for expert in own]
        if model.config.is_tfidf:
            with _fitting(saved, model):
                models.append(WordModel(tuple(TfidfModel(state, len(record.choices)) for state in states)))
            continue
        if vectors is not None and model.config.is_features:
            with _fitting(saved, model):
                models.append(_on_vectors(model.config, vectors, record, own, states))
            continue
        backbone, reader = _opened(saved, model)
        depths = None if record.depths is None else tuple(record.depths[expert] for expert in own)
        with _fitting(saved, model):
            if too_deep := [depth for depth in depths or () if depth is not None and depth > backbone.n_layers]:
                raise ModelError(f"an expert reads after {too_deep[0]} layers, and the model has {backbone.n_layers}")
            if saved.gate is not None and len(saved.gate.mean) != backbone.feature_size:
                raise ModelError(
                    f"its gate reads a feature of {len(saved.gate.mean)} numbers, and the model's has "
                    f"{backbone.feature_size}"
                )
            check_classifier(model.config, backbone, NoStore(), is_exported=False)
            if record.contexts is not None:
                experts = tuple(_expert(model.config, backbone, record, state) for state in states)
                models.append(ContextModel(reader, backbone, experts, record.contexts))
                continue
            adapters = tuple(load_adapter(model.config, backbone, len(record.choices), state) for state in states)
        models.append(ClassModel(reader, model.config, backbone, adapters, depths))
    readers = tuple(model.tokens for model in models if isinstance(model, ClassModel | ContextModel))
    fingerprint = saved.fingerprint if vectors is None else canonical_hash([saved.fingerprint, vectors.fingerprint])
    return ClassLabeller(fingerprint, readers, saved.weights, record, tuple(models), saved.voting_order, saved.gate)


def _on_vectors(
    config: ModelConfig,
    vectors: VectorFile,
    record: ChoiceEnsemble,
    own: Sequence[int],
    states: Sequence[dict[str, Tensor]],
) -> VectorModel:
    """Experts on the vectors that were given. Raises ModelError where these lack a depth, or have another size."""
    whole = vectors.cut(config.n_layers or vectors.n_layers)
    depths = [(record.depths[expert] if record.depths else None) or whole.n_layers for expert in own]
    each = zip(depths, states, strict=True)
    unset = config.model_copy(update={"n_layers": None})  # an expert's own depth is the trunk's
    adapters = tuple(load_adapter(unset, whole.cut(depth), len(record.choices), state) for depth, state in each)
    return VectorModel(whole, adapters, tuple(depths))


def _answer_model(
    backbone: Backbone, head: VocabularyHead, config: ModelConfig, record: AnswerEnsemble, state: dict[str, Tensor]
) -> AnswerModel:
    """An expert that writes. Raises ModelError where its tensors are none of one."""
    if not record.is_prompted:
        return load_answer_model(backbone, head, config, state)
    if state:
        raise ModelError(f"an expert that is not trained has no tensor, and there is {min(state)}")
    return untrained_answer_model(backbone, head, config)


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


def _opened(saved: SavedEnsemble, model: SavedModel) -> tuple[Backbone, Tokens]:
    """One of the models, and how it reads. Raises ModelError where it is not what the experts were trained on."""
    config = model.config
    _check_reads_text(Path(config.model), config)
    backbone = load_backbone(config)
    if backbone.fingerprint != model.fingerprint:
        raise ModelError(
            f"{config.model}: these are not the weights that the experts of {saved.folder} were trained on "
            f"({backbone.fingerprint[:12]}, not {model.fingerprint[:12]}); restore that model"
        )
    longest = saved.max_length(config, backbone.positions) - _context_tokens(saved, backbone.tokenizer)
    return backbone, Tokens(backbone.tokenizer, config.chat, longest, backbone.n_tokens)


def _context_tokens(saved: SavedEnsemble, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens of the longest text that an expert reads before a prompt."""
    return max((len(ids) for ids in prompt_ids(tokenizer, saved.record.contexts or ())), default=0)


@contextmanager
def _fitting(saved: SavedEnsemble, model: SavedModel) -> Iterator[None]:
    try:
        yield
    except ModelError as error:
        name = model.config.model
        raise ModelError(f"{saved.folder}: its experts do not fit the model {name}: {error}; {AGAIN}") from None


def _check_reads_text(path: Path, config: ModelConfig) -> None:
    """Raises ModelError of an ensemble on pictures."""
    if kind_of(config) != "text":
        raise ModelError(
            f"{path}: the experts' model {config.model} reads pictures, and an ensemble labels text alone; let the "
            "student answer: ensemw2s predict"
        )
