"""Trainable parts of an expert or student: a head, upper layers, LoRA updates, or all weights."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from transformers import PreTrainedModel

from ensemw2s.config import ModelConfig
from ensemw2s.config.model import Pooling
from ensemw2s.distributed import launch
from ensemw2s.errors import ModelError
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.adapting.upper import add_lora, computing_in, own_layers, own_model, own_weights, upper_layers
from ensemw2s.models.loading.anatomy import share
from ensemw2s.models.passes import run_model
from ensemw2s.models.pooled import Trunk, of_text
from ensemw2s.models.trunk import pool
from ensemw2s.records import Inputs

SCALE_ROWS = 256
"""Examples that a head's feature scale is measured on: enough for a root mean square, and cheap under LoRA."""


class Top(nn.Module):
    """Upper layers and final norm on the trunk's activations, followed by a head.

    Its inputs are every token's activation below those layers, as in `TokenInputs`. Memory: the trained parameters
    (float32 copies with `top`, low-rank updates with `lora`), and in training their gradients and optimiser state.

    Args:
        upper: result of `upper_layers`, made trainable by `own_weights` or `add_lora`.
    """

    def __init__(self, upper: PreTrainedModel, pooling: Sequence[Pooling], head: Head):
        super().__init__()
        self.upper = upper
        self.pooling = pooling
        self.head = head

    def pooled(
        self, values: Float[Tensor, "batch length dim"], mask: Int[Tensor, "batch length"]
    ) -> Float[Tensor, "batch features"]:
        device, dtype = self.upper.device, next(self.upper.parameters()).dtype
        values, mask = values.to(device, dtype), mask.to(device)
        return pool(run_model(self.upper, values, mask), mask, self.pooling)

    def forward(
        self, values: Float[Tensor, "batch length dim"], mask: Int[Tensor, "batch length"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits from the activations below the upper layers."""
        return self.head.classify(self.pooled(values, mask))


class Whole(nn.Module):
    """All layers on token ids, with low-rank updates or trained themselves, followed by a head.

    Args:
        model: the backbone's model, made trainable by `add_lora` or `own_model`.
        dtype: dtype in which float32 weights are multiplied.
    """

    def __init__(
        self, model: PreTrainedModel, pooling: Sequence[Pooling], head: Head, dtype: torch.dtype = torch.float32
    ):
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.head = head
        self._dtype = dtype

    def pooled(
        self, values: Int[Tensor, "batch length"], mask: Int[Tensor, "batch length"]
    ) -> Float[Tensor, "batch features"]:
        device = self.model.device
        values, mask = values.to(device), mask.to(device)
        with computing_in(self._dtype, device):
            return pool(run_model(self.model, values, mask), mask, self.pooling)

    def forward(
        self, values: Int[Tensor, "batch length"], mask: Int[Tensor, "batch length"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits from token ids."""
        return self.head.classify(self.pooled(values, mask))


Adapter = Head | Top | Whole


def build_adapter(
    config: ModelConfig,
    trunk: Trunk,
    n_classes: int,
    *,
    dropout: float,
    init_std: float,
    generator: Generator,
) -> Adapter:
    """Build the trainable module of `config` on the trunk's device, with initial weights from `generator`.

    Raises:
        ModelError: `config.n_layers`, `top_layers`, `lora_layers` or `lora_targets` does not fit the trunk, or its
            family's upper layers cannot be run from activations, which is tried on a short input; or the trunk gives
            vectors alone, and more than a head is to be trained.
    """
    trunk = trunk.cut(config.n_layers or trunk.n_layers)
    head_dropout = 0.0 if config.adapter == "lora" else dropout
    head = Head(trunk.feature_size, n_classes, config.head_hidden, head_dropout, init_std, generator)
    head.n_blocks = trunk.n_blocks
    head.to(trunk.device)
    if config.adapter == "head":
        return head
    backbone = of_text(trunk, f"adapter: {config.adapter}", "choose adapter: head")
    n = own_layers(config, backbone.n_layers)
    if config.adapter == "top":
        if not 1 <= n < backbone.n_layers:
            raise ModelError(
                f"{backbone.name}: top_layers must be within 1 and {backbone.n_layers - 1}, got {n}; the model has "
                f"{backbone.n_layers} layers"
            )
        upper = upper_layers(backbone, n)
        own_weights(upper)
        return Top(upper, backbone.pooling, head)
    if config.adapter == "lora":
        # The frozen weights are shared with the backbone.
        model = share(backbone.model) if n == backbone.n_layers else upper_layers(backbone, n)
        add_lora(model, config, dropout, generator)
        return (Whole if n == backbone.n_layers else Top)(model, backbone.pooling, head)
    model = own_model(backbone.model, train_embeddings=config.train_embeddings)
    return Whole(model, backbone.pooling, head, backbone.dtype)


def fit_scale(adapter: Adapter, inputs: Inputs, rows: Int[Tensor, " rows"], *, batch_size: int = 64) -> None:
    """Set the head's scale to the RMS of these rows' features under the untrained adapter."""
    was_training = adapter.training
    adapter.eval()
    with torch.no_grad():
        features = [adapter.pooled(*inputs.batch(part)).float() for part in rows.split(batch_size)]
    adapter.train(was_training)
    head_of(adapter).fit_scale(torch.cat(features))


def head_of(adapter: Adapter) -> Head:
    """The head of any adapter."""
    return adapter if isinstance(adapter, Head) else adapter.head


def owned_state(module: nn.Module) -> dict[str, Tensor]:
    """Trained parameters and the head's scale by name, as clones on the CPU, without frozen weights."""
    return {name: launch.whole(tensor.detach()).cpu().clone() for name, tensor in _owned(module).items()}


def load_owned(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load an `owned_state`. Raises ModelError where a name is unknown or missing, or a shape differs."""
    owned = _owned(module)
    for name in sorted(owned.keys() ^ state.keys()):
        what = "lacks" if name in owned else "has the unknown tensor"
        raise ModelError(
            f"the adapter's state {what} {name}; it was saved from another adapter or another number of layers"
        )
    for name, tensor in owned.items():
        if tensor.shape != state[name].shape:
            raise ModelError(
                f"the adapter's tensor {name} has shape {list(state[name].shape)}, not {list(tensor.shape)}; "
                "it was saved from a model of another size or for another number of classes"
            )
    with torch.no_grad():
        for name, tensor in owned.items():
            tensor.copy_(state[name])


def n_trainable(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def n_used(state: Mapping[str, Tensor]) -> int:
    """Number of parameters of an `owned_state`, without those on dimensions that its head does not read."""
    (scale_name,) = (name for name in state if name.rpartition(".")[2] == "scale")
    first = scale_name.removesuffix("scale") + "{}.weight"
    first_layer = state.get(first.format("hidden"), state[first.format("score")])
    unread = first_layer.shape[0] * int(state[scale_name].isinf().sum())
    return sum(tensor.numel() for name, tensor in state.items() if name != scale_name) - unread


def _owned(module: nn.Module) -> dict[str, Tensor]:
    owned: dict[str, Tensor] = {name: p for name, p in module.named_parameters() if p.requires_grad}
    return owned | {name: b for name, b in module.named_buffers() if name in ("scale", "head.scale")}
