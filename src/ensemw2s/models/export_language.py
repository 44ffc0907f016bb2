"""A trained answer model as a plain causal language model in the library's own format."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from peft.tuners.lora import LoraLayer
from pydantic import model_validator
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.files import new_folder
from ensemw2s.models.anatomy import cut_config, final_norm, layers_of
from ensemw2s.models.checkpoint import checkpoint_folder, own_code
from ensemw2s.models.exported import seal
from ensemw2s.models.language import load_answer_model
from ensemw2s.models.load import Backbone, explained
from ensemw2s.models.quiet import quiet
from ensemw2s.models.upper import own_layers
from ensemw2s.prompting import Prompting
from ensemw2s.records import Saved

ABOUT = "answers.json"
"""How the student was made to answer; its presence tells a student that answers in words."""


class Answers(Saved):
    """`answers.json`."""

    format: Literal[1] = 1
    max_length: int
    """Tokens of a prompt and its answer together."""
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
    unembedding: Float[Tensor, "vocab dim"],
    state: Mapping[str, Tensor],
    decoding: DecodingConfig,
    card: str,
    template: str = Prompting.template,
) -> None:
    """Write the checkpoint, cut to this side's layers, with what was trained in place (LoRA merged in), in float32.

    `AutoModelForCausalLM.from_pretrained` loads it; an older one there is replaced. Memory: two float32 copies.

    Raises:
        ModelError: the state is of another adapter, or the folder cannot be written.
    """
    # LoRA is merged into weights that the run's own models share, so into a copy; `full` makes its own.
    private = backbone if config.adapter == "full" else replace(backbone, model=copy.deepcopy(backbone.model).float())
    answerer = load_answer_model(private, unembedding, config, dict(state))
    trained = answerer.upper
    for module in trained.modules():
        if isinstance(module, LoraLayer):
            module.merge()
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
    base = model.base_model
    assert isinstance(base, PreTrainedModel)
    if answerer.owns_all:
        _copy(base, trained)
        head = model.get_output_embeddings()
        assert head is not None
        with torch.no_grad():
            head.weight.copy_(answerer.unembedding)
    else:
        first = backbone.n_layers - own_layers(config, backbone)
        for layer, own in zip(list(layers_of(base))[first:], layers_of(trained), strict=True):
            _copy(layer, own)
        _copy(final_norm(base), final_norm(trained))
    with new_folder(folder) as temporary, quiet():
        model.save_pretrained(temporary)
        backbone.tokenizer.save_pretrained(temporary)
        (temporary / ABOUT).write_text(
            Answers(max_length=config.max_length, decoding=decoding).text(), encoding="utf-8"
        )
        seal(temporary, card, Prompting(template, config.chat), has_own_code=config.trust_remote_code_from is not None)


@torch.no_grad()
def _copy(target: nn.Module, own: nn.Module) -> None:
    """Parameters by name; what peft wrapped lies one level deeper, and its own matrices are merged by now."""
    values = {n.replace(".base_layer.", "."): p for n, p in own.named_parameters() if "lora_" not in n}
    for name, parameter in target.named_parameters():
        parameter.copy_(values[name].float())
