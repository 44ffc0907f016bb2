"""Frozen multimodal models: text with pictures in it, and the state of the last token of the language part."""

import copy
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from ensemw2s.config import ModelConfig
from ensemw2s.errors import DataError, ModelError
from ensemw2s.hashing import canonical_hash
from ensemw2s.meter import working
from ensemw2s.models.loading.anatomy import cut_model, final_norm, layers_of, share
from ensemw2s.models.loading.checkpoint import checkpoint_folder, fingerprint, own_code, weight_files
from ensemw2s.models.loading.load import device
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.loading.refusal import explained
from ensemw2s.models.pictures.files import check_pillow, open_pictures
from ensemw2s.models.pictures.frozen import BACKEND, open_checkpoint, refuse_lacking, states_of
from ensemw2s.models.pictures.kind import check_prompts
from ensemw2s.models.pictures.reading import read_with
from ensemw2s.models.probes import require
from ensemw2s.pictures import split_at_pictures

LANGUAGE = "language_model"
"""Name of the language part in the library's multimodal models."""


@dataclass(frozen=True)
class MultimodalTrunk:
    """A frozen multimodal model, which gives vectors alone (`models.pooled.PooledTrunk`).

    Prompts are read one by one: how families pad and count the tokens of their pictures differs.
    """

    model: PreTrainedModel
    """Without the vocabulary head; in evaluation mode, no parameter requires a gradient."""
    processor: Any
    """The library's processor, with its tokenizer and its image processor."""
    n_layers: int
    """Of the language part."""
    name: str
    fingerprint: str
    config: ModelConfig
    proven: dict[Hashable, str] = field(default_factory=dict, compare=False)

    n_blocks = 1
    feature_text = ""

    @property
    def language(self) -> PreTrainedModel:
        return getattr(self.model, LANGUAGE)

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def feature_size(self) -> int:
        return self.language.config.hidden_size

    @property
    def flops(self) -> float:
        """Of a short prompt with one picture at this depth."""
        return self._flops

    @cached_property
    def _flops(self) -> float:
        with FlopCounterMode(display=False) as counter:
            self.last_states(self.sample(), [self.n_layers])
        return float(counter.get_total_flops())

    @property
    def depth_text(self) -> str:
        return f"first {self.n_layers} layers of its language part"

    def weights(self) -> Iterable[Tensor]:
        return self.model.parameters()

    def cut(self, n_layers: int) -> "MultimodalTrunk":
        """The same with fewer layers of the language part, sharing the weights."""
        if n_layers == self.n_layers:
            return self
        if not 1 <= n_layers <= self.n_layers:
            raise ModelError(
                f"{self.name}: n_layers is {n_layers}, and its language part has {self.n_layers} layers; set it to 1 "
                f"to {self.n_layers}"
            )
        return replace(self, model=_with_language(self.model, cut_model(self.language, 0, n_layers)), n_layers=n_layers)

    def prove(self, depths: Sequence[int]) -> None:
        """Compare the features of a text with a picture, and of one without, with the library's own.

        Raises:
            ModelError: they differ, or the family cannot be read at one of the depths.
        """
        for depth in depths:
            for texts in (("Is ", " a 7?"), ("Is it a 7?",)):
                asked = self.sample(texts)
                require(
                    self,
                    ("multimodal", texts, depth, tuple(depths)),
                    lambda depth=depth, asked=asked: self.last_states(asked, depths)[depth],
                    lambda depth=depth, asked=asked: self.cut(depth).librarys(asked),
                    what=f"what its language part makes of a prompt after {depth} layers cannot be read",
                    mend="leave n_layers out and take no method that reads several depths, or use LLaVA",
                )

    def check(self, ids: Sequence[str], prompts: Sequence[str]) -> None:
        """Any prompt is read. Raises ModelError where a setting is none of this kind."""
        check_prompts(self.config, ids, prompts)

    def features(
        self, ids: Sequence[str], prompts: Sequence[str], depths: Sequence[int]
    ) -> dict[int, Float[Tensor, "examples _"]]:
        """The last token's state of each prompt at each depth, in order, in the model's dtype on the CPU.

        Raises:
            DataError: a picture cannot be opened, or is another than its prompt says; or a prompt is too long.
        """
        found = {depth: torch.empty(len(prompts), self.feature_size, dtype=self.dtype) for depth in depths}
        with working(f"{self.name.rpartition('/')[2]} reads", "prompts", len(prompts)) as advance:
            for row, (name, prompt) in enumerate(zip(ids, prompts, strict=True)):
                asked = self._read(split_at_pictures(prompt), open_pictures(prompt, name, "RGB"))
                if (n := asked["input_ids"].shape[1]) > self.config.max_length or not n:
                    raise DataError(
                        f"{self.name}: the example {name!r} has {n} tokens, those of its pictures counted, and the "
                        f"model reads 1 to {self.config.max_length} (max_length); shorten it, or raise max_length"
                    )
                for depth, state in self.last_states(asked, depths).items():
                    found[depth][row] = state[0]
                advance(1)
        return found

    def _read(self, texts: Sequence[str], pictures: Sequence[Any]) -> dict[str, Tensor]:
        """What the model reads of the texts before, between and behind pictures."""
        return read_with(self.processor, texts, pictures)

    @torch.no_grad()
    def last_states(self, asked: dict[str, Tensor], depths: Collection[int]) -> dict[int, Float[Tensor, "prompts dim"]]:
        """The last token's state at each depth, as of the language part cut to it."""
        states = states_of(layers_of(self.language), depths, lambda: self._run(asked))
        return {depth: final_norm(self.language)(states[depth][:, -1]).cpu() for depth in depths}

    @torch.no_grad()
    def librarys(self, asked: dict[str, Tensor]) -> Float[Tensor, "prompts dim"]:
        """The same at this depth from the library's own output."""
        return self._run(asked)[:, -1].cpu()

    def _run(self, asked: dict[str, Tensor]) -> Float[Tensor, "prompts tokens dim"]:
        moved = {
            name: part.to(self.device, self.dtype if part.is_floating_point() else None) for name, part in asked.items()
        }
        return self.model(**moved, use_cache=False).last_hidden_state

    def sample(self, texts: Sequence[str] = ("Is ", " a 7?")) -> dict[str, Tensor]:
        """What the model reads of these texts with drawn pictures between them."""
        from PIL import Image

        generator, shape = torch.Generator().manual_seed(0), (len(texts) - 1, 48, 48, 3)
        drawn = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return self._read(texts, [Image.fromarray(part.numpy()) for part in drawn])


def load_multimodal(config: ModelConfig) -> MultimodalTrunk:
    """Load a multimodal model, its language part at the depth of its settings.

    Raises:
        ModelError: there is no such model; it lacks weights, or layers as asked for; it is of a family whose language
            part or whose token for a picture is not found; Pillow is not installed.
    """
    check_pillow(config.model)
    folder = checkpoint_folder(config)
    trust = own_code(config, folder)
    with quiet(), explained(config.model, folder):
        weight_files(config, folder)
        whole, processor, missing = open_checkpoint(config, folder, trust, AutoModelForImageTextToText, AutoProcessor)
        base = getattr(whole, whole.base_model_prefix, None)
        if not isinstance(base, PreTrainedModel) or not isinstance(getattr(base, LANGUAGE, None), PreTrainedModel):
            raise ModelError(
                f"{config.model}: a {type(whole).__name__} does not keep its language part where this package finds "
                "it; use another family such as LLaVA"
            )
        refuse_lacking(config.model, folder, [key for key in missing if "lm_head" not in key])
        if not isinstance(getattr(processor, "image_token", None), str):
            raise ModelError(
                f"{config.model}: its {type(processor).__name__} names no token for a picture (image_token); use "
                "another family such as LLaVA"
            )
        digest = canonical_hash({"checkpoint": fingerprint(folder, config.revision), "backend": BACKEND})
    base.requires_grad_(False).eval()
    nn.Module.to(base, device())
    n_layers = getattr(base, LANGUAGE).config.num_hidden_layers
    trunk = MultimodalTrunk(base, processor, n_layers, config.model, digest, config)
    return trunk.cut(config.n_layers or n_layers)


def _with_language(model: PreTrainedModel, language: PreTrainedModel) -> PreTrainedModel:
    shared = share(model)
    setattr(shared, LANGUAGE, language)
    shared.config = copy.deepcopy(model.config)
    shared.config.text_config = language.config  # pyright: ignore[reportAttributeAccessIssue]
    return shared
