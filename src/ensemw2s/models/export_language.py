"""A trained answer model as a plain causal language model in the library's own format."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from peft.tuners.lora import LoraLayer
from pydantic import model_validator
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.anatomy import cut_config, place_in_whole, share
from ensemw2s.models.checkpoint import checkpoint_folder, own_code
from ensemw2s.models.exported import seal
from ensemw2s.models.language import AnswerModel, load_answer_model
from ensemw2s.models.load import Backbone, explained
from ensemw2s.models.quiet import quiet
from ensemw2s.models.vocabulary import VocabularyHead
from ensemw2s.prompting import Prompting
from ensemw2s.storage.files import new_folder
from ensemw2s.storage.records import Saved

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
    unembedding: VocabularyHead,
    state: Mapping[str, Tensor],
    decoding: DecodingConfig,
    card: str,
    template: str = Prompting.template,
) -> None:
    """Write the checkpoint, cut to this side's layers, with what was trained in place (LoRA merged in), in float32.

    `AutoModelForCausalLM.from_pretrained` loads it; an older one there is replaced. Memory: one float32 copy.

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
        seal(temporary, card, Prompting(template, config.chat), has_own_code=config.trust_remote_code_from is not None)


@torch.no_grad()
def put_in_place(answerer: AnswerModel, model: PreTrainedModel) -> None:
    """Give the library's own causal model, with as many layers, what was trained; low-rank updates are added.

    Raises:
        ModelError: the two do not name their weights alike.
    """
    places = dict(model.named_parameters(remove_duplicate=False))
    for name, value in trained_tensors(answerer, model.base_model_prefix):
        place = places.get(name)
        if place is None or place.shape != value.shape:
            raise ModelError(
                f"a {type(model).__name__} has no weight {name} of shape {list(value.shape)}, which was trained, so it "
                "cannot be exported; use another family such as Llama, Qwen or GPT-2"
            )
        place.copy_(value)


def trained_tensors(answerer: AnswerModel, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """What was trained, in float32, under its name in the library's own causal model of all layers.

    Args:
        prefix: of the trunk in that model.
    """
    place_of = place_in_whole(answerer.upper, answerer.first_layer)
    for name, module in answerer.upper.named_modules():
        if isinstance(module, LoraLayer):
            yield f"{prefix}.{place_of(name)}.weight", _Merged(module).weight.float()
    for name, parameter in answerer.named_parameters():
        part, _, rest = name.partition(".")
        if parameter.requires_grad and "lora_" not in name:
            yield rest.removeprefix("model.") if part == "own_head" else f"{prefix}.{place_of(rest)}", parameter.float()


def library_form(answerer: AnswerModel, backbone: Backbone) -> PreTrainedModel:
    """The library's own causal model with the trained parts in place, over the same tensors: what an export is."""
    model = share(answerer.head.model)
    if answerer.owns_all:
        setattr(model, model.base_model_prefix, answerer.upper)
        return model
    trunk = share(backbone.model)
    setattr(model, model.base_model_prefix, trunk)
    place_of = place_in_whole(answerer.upper, answerer.first_layer)
    for name, module in answerer.upper.named_modules():
        if isinstance(module, LoraLayer):
            trunk.set_submodule(place_of(name), _Merged(module))
    for name, parameter in answerer.upper.named_parameters():
        if parameter.requires_grad and "lora_" not in name:
            owner, _, leaf = place_of(name).rpartition(".")
            value = nn.Parameter(parameter.detach().to(backbone.dtype), requires_grad=False)
            setattr(trunk.get_submodule(owner), leaf, value)
    return model


class _Merged(nn.Module):
    """A layer with its low-rank update added in, computed anew each time: no copy of the weights is kept."""

    def __init__(self, layer: LoraLayer):
        super().__init__()
        self._layer = (layer,)

    @property
    def weight(self) -> Tensor:
        layer: Any = self._layer[0]  # peft declares no type for what its linear layers have in common
        (adapter,) = layer.lora_A
        base: Tensor = layer.get_base_layer().weight
        update: Tensor = layer.get_delta_weight(adapter)
        return base + update.to(base.dtype)

    @property
    def bias(self) -> Tensor | None:
        bias = self._layer[0].get_base_layer().bias
        assert bias is None or isinstance(bias, Tensor)
        return bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.func.functional_call(self._layer[0].get_base_layer(), {"weight": self.weight}, (x,))
