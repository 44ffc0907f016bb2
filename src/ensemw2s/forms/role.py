"""The weak or the strong model of a run, as far as classes and generation share it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ensemw2s.config import ModelConfig
from ensemw2s.models.adapting.upper import own_layers
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.pooled import Trunk, of_text


@runtime_checkable
class WeakRole(Protocol):
    """What costs and reports ask of a weak model, be it a pretrained one or not."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def trunk_flops(self) -> float: ...

    @property
    def own_flops(self) -> float: ...

    @property
    def head_weights(self) -> int: ...

    @property
    def trains_head(self) -> bool: ...

    def describe(self) -> str:
        """One phrase for the report."""
        ...


@dataclass(frozen=True)
class Role:
    """A model with its adapter's settings."""

    config: ModelConfig
    trunk: Trunk
    """Cut to the layers that are used."""
    trunk_flops: float
    """FLOPs per token of one forward pass through the frozen trunk: the layers below the adapter's own."""
    own_flops: float
    """The same of the layers that the adapter runs itself, as they are before training."""

    @property
    def backbone(self) -> Backbone:
        """The trunk of a model that reads text. Raises ModelError where it is none."""
        return of_text(self.trunk, "what is asked of it", "choose such a model")

    @property
    def head_weights(self) -> int:
        """Weights of the vocabulary head that answer tokens go through."""
        return 0

    @property
    def trains_head(self) -> bool:
        """Whether these are trained, too."""
        return False

    @property
    def fingerprint(self) -> dict[str, object]:
        """What decides a training: the weights, the cut, the arithmetic and the adapter."""
        return {**self.config.deciding, "weights": self.trunk.fingerprint, "dtype": str(self.trunk.dtype)}

    def describe(self) -> str:
        """One phrase for the report."""
        n = own_layers(self.config, self.trunk.n_layers)
        parts = {
            "head": "a trained head",
            "top": f"{self.config.top_layers} trained upper layers",
            "lora": f"LoRA on {'all' if n == self.trunk.n_layers else f'the upper {n}'} layers",
            "full": "all weights trained" if self.config.train_embeddings else "all weights but embeddings trained",
        }
        if self.config.lora_experts > 1:
            mixed = f"mixtures of {self.config.lora_experts} low-rank updates, {self.config.lora_active} active"
            parts["lora"] += f", in MLPs {mixed}" + (", from the weak experts" * (self.config.lora_start == "weak"))
        hidden = f" with {self.config.head_hidden} hidden units" if self.config.head_hidden else ""
        return f"{self.config.model}, {self.trunk.depth_text}, {parts[self.config.adapter]}{hidden}"


def multiplying_weights(backbone: Backbone) -> int:
    """Weights that multiply in a forward pass: all matrices but the embeddings, which are looked up."""
    embeddings = {id(p) for p in backbone.model.get_input_embeddings().parameters()}
    return sum(p.numel() for p in backbone.model.parameters() if id(p) not in embeddings and p.ndim > 1)
