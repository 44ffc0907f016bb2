"""Frozen vision trunks: one vector per picture and depth, pooled as the library's own model would be."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoImageProcessor, AutoModel, PreTrainedModel

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.hashing import canonical_hash
from ensemw2s.meter import working
from ensemw2s.models.loading.anatomy import FINAL_NORMS, cut_model
from ensemw2s.models.loading.checkpoint import checkpoint_folder, fingerprint, own_code, weight_files
from ensemw2s.models.loading.load import device
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.loading.refusal import explained
from ensemw2s.models.pictures.files import check_pillow, open_pictures
from ensemw2s.models.pictures.frozen import BACKEND, open_checkpoint, refuse_lacking, states_of
from ensemw2s.models.pictures.kind import check_prompts
from ensemw2s.models.probes import difference, require

BATCH = 64
"""Pictures of a pass."""
BEFORE_PATCHES = ("cls_token", "class_embedding", "distillation_token")
"""Ends of the names of learned tokens before the patches."""
SAME = 1e-3


@dataclass(frozen=True)
class VisionTrunk:
    """A frozen vision model, which gives vectors alone (`models.pooled.PooledTrunk`)."""

    model: PreTrainedModel
    """In evaluation mode, no parameter requires a gradient."""
    processor: Any
    """The library's image processor."""
    norm: nn.Module
    """What the library applies to the states after the last layer; the identity where it applies nothing."""
    n_layers: int
    """Transformers: layers; convolutional networks: stages."""
    pooling: Literal["cls", "mean"]
    """Transformers: the class token's state, or the mean over the patches. A convolutional network has its mean."""
    name: str
    fingerprint: str
    """Of the weights, and of how pictures are prepared and features pooled."""
    config: ModelConfig
    proven: dict[Hashable, str] = field(default_factory=dict, compare=False)

    n_blocks = 1

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def mode(self) -> str:
        """Pillow's mode of the pictures that it reads."""
        return "L" if getattr(self.model.config, "num_channels", 3) == 1 else "RGB"

    @property
    def is_convolutional(self) -> bool:
        return not hasattr(self.model.config, "num_attention_heads")

    @property
    def feature_size(self) -> int:
        return self._feature_size

    @cached_property
    def _feature_size(self) -> int:
        return self.pooled(self.sample(1), [self.n_layers])[self.n_layers].shape[1]

    @property
    def flops(self) -> float:
        """Of one picture's vector at this depth."""
        return self._flops

    @cached_property
    def _flops(self) -> float:
        with FlopCounterMode(display=False) as counter:
            self.pooled(self.sample(1), [self.n_layers])
        return float(counter.get_total_flops())

    @property
    def depth_text(self) -> str:
        return f"first {self.n_layers} {'stages' if self.is_convolutional else 'layers'}"

    @property
    def feature_text(self) -> str:
        read = "mean over the picture" if self.is_convolutional else _READ[self.pooling]
        return f" on the {read}"

    def weights(self) -> Iterable[Tensor]:
        return self.model.parameters()

    def cut(self, n_layers: int) -> "VisionTrunk":
        """The same at a lower depth, sharing the weights. A convolutional network keeps the stages above, unread."""
        if n_layers == self.n_layers:
            return self
        if not 1 <= n_layers <= self.n_layers:
            raise ModelError(
                f"{self.name}: n_layers is {n_layers}, and the model has {self.depth_text.removeprefix('first ')}; set "
                f"it to 1 to {self.n_layers}"
            )
        model = self.model if self.is_convolutional else cut_model(self.model, 0, n_layers)
        return replace(self, model=model, n_layers=n_layers)

    def prove(self, depths: Sequence[int]) -> None:
        """Compare features of several pictures in one pass with the library's own of each by itself.

        Raises:
            ModelError: they differ, or the family cannot be read at one of the depths.
        """
        pixels = self.sample(3)
        for depth in depths:
            require(
                self,
                ("pictures", self.pooling, depth, tuple(depths)),
                lambda depth=depth: self.pooled(pixels, depths)[depth],
                lambda depth=depth: torch.cat([_librarys(self.cut(depth), one) for one in pixels.split(1)]),
                what=f"what it makes of a picture after {depth} of its layers cannot be read, or changes with the "
                "pictures beside it",
                mend="leave n_layers out and take no method that reads several depths, or use a family such as ViT",
            )

    def check(self, ids: Sequence[str], prompts: Sequence[str]) -> None:
        """Raises DataError, naming the first, where a prompt is anything but one picture."""
        check_prompts(self.config, ids, prompts)

    def features(
        self, ids: Sequence[str], prompts: Sequence[str], depths: Sequence[int]
    ) -> dict[int, Float[Tensor, "examples _"]]:
        """The vectors of these pictures at each depth, in order, in the model's dtype on the CPU.

        Raises:
            DataError: a picture cannot be opened, or is another than its prompt says.
        """
        parts: list[dict[int, Tensor]] = []
        with working(f"{self.name.rpartition('/')[2]} reads", "pictures", len(prompts)) as advance:
            for start in range(0, len(prompts), BATCH):
                named = list(zip(ids, prompts, strict=True))[start : start + BATCH]
                pictures = [picture for name, prompt in named for picture in open_pictures(prompt, name, self.mode)]
                parts.append(self.pooled(self.pixels(pictures), depths))
                advance(len(named))
        empty = torch.empty(0, self.feature_size, dtype=self.dtype)
        return {depth: torch.cat([part[depth] for part in parts]) if parts else empty for depth in depths}

    def pixels(self, pictures: Sequence[Any]) -> Float[Tensor, "pictures channels height width"]:
        """What the model reads of pictures of Pillow."""
        return self.processor(images=list(pictures), return_tensors="pt")["pixel_values"]

    @torch.no_grad()
    def pooled(
        self, pixels: Float[Tensor, "pictures channels height width"], depths: Collection[int]
    ) -> dict[int, Float[Tensor, "pictures _"]]:
        """Pooled states at each depth, as of the model cut to it."""
        moved = pixels.to(self.device, self.dtype)
        states = states_of(layers_of(self.model), depths, lambda: self.model(pixel_values=moved))
        return {depth: self.pool(self.norm(states[depth])).cpu() for depth in depths}

    def pool(
        self, states: Float[Tensor, "pictures tokens dim"] | Float[Tensor, "pictures dim height width"]
    ) -> Float[Tensor, "pictures dim"]:
        if states.ndim == 4:
            return states.mean((2, 3))
        return states[:, 0] if self.pooling == "cls" else states[:, _n_before(self.model) :].mean(1)

    def sample(self, n: int) -> Float[Tensor, "pictures channels height width"]:
        """What the model reads of drawn pictures of several shapes."""
        from PIL import Image

        drawn = torch.randint(0, 256, (n, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        shapes = [(48, 48 - 9 * (k % 3)) for k in range(n)]
        grey = [Image.fromarray(part.numpy()).crop((0, 0, *shape)) for part, shape in zip(drawn, shapes, strict=True)]
        return self.pixels([picture.convert(self.mode) for picture in grey])


_READ = {"cls": "class token", "mean": "mean over the patches"}


def load_vision(config: ModelConfig) -> VisionTrunk:
    """Load a vision model, at the depth of its settings.

    Raises:
        ModelError: there is no such model; it lacks weights, or depths as asked for; it keeps its layers where they are
            not found, or does after them what is not known; Pillow is not installed.
    """
    check_pillow(config.model)
    folder = checkpoint_folder(config)
    trust = own_code(config, folder)
    with quiet(), explained(config.model, folder):
        weight_files(config, folder)
        model, processor, missing = open_checkpoint(config, folder, trust, AutoModel, AutoImageProcessor)
        # A pooler is trained for another purpose and often absent, and the token that masks patches is for training.
        lacking = [key for key in missing if "pooler" not in key and "mask_token" not in key]
        refuse_lacking(config.model, folder, lacking)
        digest = fingerprint(folder, config.revision)
    model.requires_grad_(False).eval()
    nn.Module.to(model, device())
    has_class_token = any(name.endswith(("cls_token", "class_embedding")) for name, _ in model.named_parameters())
    if config.pooling == "cls" and not has_class_token:
        raise ModelError(f"{config.model}: pooling: cls reads a class token, and it has none; leave pooling out")
    pooling = config.pooling or ("cls" if has_class_token else "mean")
    assert pooling in ("cls", "mean"), "others are refused with the prompts"
    digest = canonical_hash({"checkpoint": digest, "backend": BACKEND, "pooling": pooling})
    whole = VisionTrunk(model, processor, nn.Identity(), len(layers_of(model)), pooling, config.model, digest, config)
    whole = replace(whole, norm=_norm_of(whole))
    return whole.cut(config.n_layers or whole.n_layers)


@torch.no_grad()
def _librarys(trunk: VisionTrunk, pixels: Tensor) -> Tensor:
    output = trunk.model(pixel_values=pixels.to(trunk.device, trunk.dtype), output_hidden_states=trunk.is_convolutional)
    if not trunk.is_convolutional:
        return trunk.pool(output.last_hidden_state).cpu()
    n_before = len(output.hidden_states) - len(layers_of(trunk.model))
    return trunk.pool(output.hidden_states[trunk.n_layers - 1 + n_before]).cpu()


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The model's layers or stages, first to last. Raises ModelError where they are not found."""
    config = model.config
    n = len(config.depths) if hasattr(config, "depths") else getattr(config, "num_hidden_layers", None)
    for module in model.modules():
        for child in module.children():
            if isinstance(child, nn.ModuleList) and len(child) == n:
                return child
    raise ModelError(
        f"{type(model).__name__}: no list of {n} layers or stages was found in this family; use one such as ViT, "
        "DINOv2 or ConvNeXt"
    )


def _norm_of(trunk: VisionTrunk) -> nn.Module:
    """The module between the last layer's states and the library's output, found by trying. Raises ModelError."""
    outputs: list[Tensor] = []
    pixels, depth = trunk.sample(1).to(trunk.device, trunk.dtype), trunk.n_layers
    with torch.no_grad():
        state = states_of(
            layers_of(trunk.model),
            [depth],
            lambda: outputs.append(trunk.model(pixel_values=pixels).last_hidden_state),
        )[depth]
    named = [module for name, module in trunk.model.named_modules() if name.rpartition(".")[2] in NORMS]
    for norm in (nn.Identity(), *named):
        if not difference(lambda norm=norm: norm(state), lambda: outputs[0], SAME):
            return norm
    raise ModelError(
        f"{trunk.name}: the {type(trunk.model).__name__} family does something after its last layer that this package "
        "does not know, so its features cannot be read; use a family such as ViT, DINOv2 or ConvNeXt"
    )


NORMS = (*FINAL_NORMS, "post_layernorm")


def _n_before(model: PreTrainedModel) -> int:
    """How many tokens stand before those of the patches."""
    learned = sum(name.endswith(BEFORE_PATCHES) for name, _ in model.named_parameters())
    return learned + (getattr(model.config, "num_register_tokens", 0) or 0)
