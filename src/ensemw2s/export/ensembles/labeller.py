"""A saved ensemble that labels prompts, by a class or by generation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import ModelConfig
from ensemw2s.ensemble.words.answer_votes import token_vote, voted_labels
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.prefixes import PrefixMembers
from ensemw2s.ensemble.words.write import write_answers
from ensemw2s.errors import ModelError
from ensemw2s.export.ensembles.class_labeller import ClassLabeller
from ensemw2s.export.ensembles.class_opening import open_class_labeller
from ensemw2s.export.ensembles.ensemble_folder import SavedEnsemble, read_ensemble
from ensemw2s.export.ensembles.ensemble_record import AnswerEnsemble, ChoiceEnsemble
from ensemw2s.export.ensembles.prompt_reader import PromptReader, Tokens, origin_of
from ensemw2s.export.ensembles.saved_models import context_tokens, fitting, open_backbone
from ensemw2s.export.vector_student import given_vectors
from ensemw2s.models.language import AnswerModel, load_answer_model, untrained_answer_model, vocabulary_head
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.load import load_settings
from ensemw2s.models.loading.positions import positions_of
from ensemw2s.models.loading.tokenizer import load_tokenizer
from ensemw2s.models.pictures.kind import kind_of
from ensemw2s.models.pictures.reading import PictureReader, open_picture_reader
from ensemw2s.models.vocabulary import VocabularyHead
from ensemw2s.prompting import prefix_ids


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
    saved, readers, pictures = read_ensemble(path, trusted=trusted), list[Tokens](), list[PictureReader]()
    for model in saved.models:
        if model.config.is_tfidf or model.config.is_features:
            continue
        if kind_of(model.config) != "text":
            pictures.append(open_picture_reader(model.config))
            continue
        settings = load_settings(model.config)
        tokenizer = load_tokenizer(model.config)
        longest = saved.max_length(model.config, positions_of(settings)) - context_tokens(saved, tokenizer)
        readers.append(Tokens(tokenizer, model.config.chat, longest, settings.vocab_size))
    return PromptReader(saved.fingerprint, tuple(readers), saved.weights, saved.record, pictures=tuple(pictures))


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
        return open_class_labeller(saved, record, None if features is None else given_vectors(features))
    return _generation_labeller(saved, record)


def _generation_labeller(saved: SavedEnsemble, record: AnswerEnsemble) -> GenerationLabeller:
    readers: list[Tokens] = []
    members: list[SharedTrunk | PrefixMembers] = []
    for model, own in zip(saved.models, saved.experts_of, strict=True):
        backbone, reader = open_backbone(saved, model)
        with fitting(saved, model):
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


def _answer_model(
    backbone: Backbone, head: VocabularyHead, config: ModelConfig, record: AnswerEnsemble, state: dict[str, Tensor]
) -> AnswerModel:
    """An expert that writes. Raises ModelError where its tensors are none of one."""
    if not record.is_prompted:
        return load_answer_model(backbone, head, config, state)
    if state:
        raise ModelError(f"an expert that is not trained has no tensor, and there is {min(state)}")
    return untrained_answer_model(backbone, head, config)
