"""A trained answer model as a plain causal language model in the library's own format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.export.exported import seal
from ensemw2s.export.mixture import save_mixtures
from ensemw2s.models.assembled.causal import placed_mixtures, put_in_place
from ensemw2s.models.language import load_answer_model
from ensemw2s.models.loading.anatomy import cut_config
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.checkpoint import checkpoint_folder, own_code
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.loading.refusal import explained
from ensemw2s.models.vocabulary import VocabularyHead
from ensemw2s.prompting import Prompting
from ensemw2s.storage.files import new_folder
from ensemw2s.storage.records import Saved

ABOUT = "answers.json"
"""File of the decoding settings; its presence marks a student of generation."""


class Answers(Saved):
    """Content of `answers.json`."""

    format: Literal[1] = 1
    max_length: int
    """Largest number of tokens of a prompt and its answer together."""
    decoding: DecodingConfig

    @model_validator(mode="after")
    def _leaves_room(self) -> "Answers":
        if self.max_length <= self.decoding.max_new_tokens:
            raise ValueError(
                f"max_length ({self.max_length}) leaves no token for a prompt beside decoding.max_new_tokens "
                f"({self.decoding.max_new_tokens})"
            )
        return self


def export_language(
    folder: Path,
    *,
    config: ModelConfig,
    backbone: Backbone,
    unembedding: VocabularyHead,
    state: Mapping[str, Tensor],
    decoding: DecodingConfig,
    card: str,
    template: str = Prompting.template,
) -> None:
    """Write the checkpoint, cut to the layers that are used, with the trained parameters in place, in float32.

    Low-rank updates are merged into the weights, and mixtures of them lie beside these. Without mixtures
    `AutoModelForCausalLM.from_pretrained` loads the folder. An older student there is replaced. Memory: one float32
    copy of the model.

    Raises:
        ModelError: the state is of another adapter, or the folder cannot be written.
    """
    answerer = load_answer_model(backbone, unembedding, config, dict(state))
    source = checkpoint_folder(config)
    with quiet(), explained(config.model, source):
        trust = own_code(config, source)
        whole = AutoConfig.from_pretrained(source, trust_remote_code=trust, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            source,
            config=cut_config(whole, 0, backbone.n_layers),
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=trust,
            local_files_only=True,
        )
    put_in_place(answerer, model)
    with new_folder(folder) as temporary, quiet():
        model.save_pretrained(temporary)
        backbone.tokenizer.save_pretrained(temporary)
        (temporary / ABOUT).write_text(
            Answers(max_length=config.max_length, decoding=decoding).text(), encoding="utf-8"
        )
        save_mixtures(temporary, placed_mixtures(answerer))
        seal(temporary, card, Prompting(template, config.chat), has_own_code=config.trust_remote_code_from is not None)
