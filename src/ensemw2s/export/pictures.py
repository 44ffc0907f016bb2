"""Students on pictures: the frozen model in the library's format, with our head beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import ViTForImageClassification, ViTModel

from ensemw2s.config import ModelConfig
from ensemw2s.core.losses import LINKS, SOFTMAX
from ensemw2s.export.exported import AGAIN, Package, answers_of, check_choices, check_exported, check_finite, seal
from ensemw2s.models.adapting.adapters import build_adapter, head_of, load_owned, owned_state
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.loading.contents import read_settings
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.loading.refusal import explained
from ensemw2s.models.pictures.kind import kind_of
from ensemw2s.models.pictures.load import open_pictures
from ensemw2s.models.pictures.multimodal import MultimodalTrunk
from ensemw2s.models.pictures.reading import PictureReader
from ensemw2s.models.pictures.vision import VisionTrunk
from ensemw2s.prompting import Prompting
from ensemw2s.storage.files import new_folder
from ensemw2s.storage.records import read_record

PACKAGE, HEAD, LINK = "ensemw2s.json", "head.safetensors", "ensemw2s_link"


def export_picture_student(
    folder: Path,
    *,
    config: ModelConfig,
    trunk: VisionTrunk | MultimodalTrunk,
    state: Mapping[str, Tensor],
    choices: Sequence[str],
    card: str,
    template: str,
    link: str = SOFTMAX,
) -> None:
    """Write a student with this trained head into `folder`; an older student there is replaced.

    A vision transformer whose linear head reads the class token is written as the library's own classifier of pictures,
    so that `AutoModelForImageClassification` gives the same logits; our head lies beside it all the same.

    Raises:
        ModelError: the state is of another number of classes, or the folder cannot be written.
    """
    head = build_adapter(config, trunk, len(choices), dropout=0.0, init_std=0.0, generator=torch.Generator())
    load_owned(head, state)
    head = head_of(head)
    whole = _librarys(trunk, head, choices)
    model = whole or trunk.model
    setattr(model.config, LINK, link)
    with new_folder(folder) as temporary, quiet():
        model.save_pretrained(temporary)  # pyright: ignore
        trunk.processor.save_pretrained(temporary)
        save_file(owned_state(head), temporary / HEAD)
        hidden = head.hidden.out_features if head.hidden is not None else 0
        about = Package(
            choices=tuple(choices), head_hidden=hidden, pooling=trunk.config.pooling, n_layers=trunk.n_layers
        )
        (temporary / PACKAGE).write_text(about.text(), encoding="utf-8")
        seal(temporary, card, Prompting(template), has_own_code=config.trust_remote_code_from is not None)


def _librarys(trunk: VisionTrunk | MultimodalTrunk, head: Head, choices: Sequence[str]) -> nn.Module | None:
    """The library's classifier with this head; None where it has none that reads as ours does."""
    if not isinstance(trunk, VisionTrunk) or not isinstance(trunk.model, ViTModel):
        return None
    if trunk.pooling != "cls" or head.hidden is not None:
        return None
    config = trunk.model.config.__class__.from_dict(
        trunk.model.config.to_dict()
        | {"id2label": dict(enumerate(choices)), "label2id": {choice: k for k, choice in enumerate(choices)}}
    )
    with torch.random.fork_rng(devices=[]):
        whole: Any = ViTForImageClassification(config)
        whole.to(device=trunk.device, dtype=trunk.dtype)
    whole.vit.load_state_dict(trunk.model.state_dict(), strict=False)  # without a pooler and the token for masks
    with torch.no_grad():
        whole.classifier.weight.copy_(head.score.weight / head.scale)
        whole.classifier.bias.zero_()
    return whole.eval()


@dataclass(frozen=True)
class PicturePredictor:
    """A loaded student on pictures."""

    trunk: VisionTrunk | MultimodalTrunk
    head: Head
    choices: tuple[str, ...]
    link: str = SOFTMAX

    @property
    def reader(self) -> PictureReader:
        """How it reads prompts."""
        processor = self.trunk.processor if isinstance(self.trunk, MultimodalTrunk) else None
        return PictureReader(self.trunk.config.max_length, processor)

    def log_probs(self, prompts: Sequence[str]) -> Float[Tensor, "examples classes"]:
        """Log-probabilities of `choices` for each prompt, in order, in float32 on the CPU.

        Raises:
            DataError: a prompt is nothing that the model reads, or its picture cannot be opened.
        """
        if not prompts:
            return torch.empty(0, len(self.choices))
        ids = [f"row {n}" for n in range(1, len(prompts) + 1)]
        self.trunk.check(ids, prompts)
        depth = self.trunk.n_layers
        features = self.trunk.features(ids, prompts, [depth])[depth]
        with torch.no_grad():
            logits = self.head.classify(features.to(self.head.scale.device))
        return LINKS[self.link].log_probs(logits).cpu()

    def answers(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """For each prompt: answer, confidence and the probability of each class. Raises DataError as `log_probs`."""
        return answers_of(self.log_probs(prompts).exp(), self.choices)


def is_on_pictures(folder: Path) -> bool:
    """Whether a folder is that of a student on pictures."""
    is_package = (folder / PACKAGE).is_file() and (folder / "config.json").is_file()
    return is_package and kind_of(ModelConfig(model=str(folder))) != "text"


def load_picture_student(folder: Path, *, trusted: str | None = None) -> PicturePredictor:
    """Load what `export_picture_student` wrote.

    Raises:
        ModelError: the folder is no such student, or is damaged.
    """
    name = str(folder)
    about = read_record(folder / PACKAGE, Package, mend=AGAIN)
    check_exported(folder)
    own_code = name if trusted == name else None
    place = ModelConfig(
        model=name,
        n_layers=about.n_layers,
        pooling=about.pooling,
        dtype="float32",
        max_length=2**20,
        trust_remote_code_from=own_code,
    )
    with explained(name, folder), quiet():
        trunk = open_pictures(place)
        assert trunk is not None, "asked before (is_on_pictures)"
        head = Head(trunk.feature_size, len(about.choices), about.head_hidden, 0.0, 0.0, torch.Generator())
        load_owned(head, load_file(folder / HEAD))
    check_choices(folder, about.choices)
    check_finite(folder, trunk.model)
    check_finite(folder, head)
    link = str(read_settings(name, folder / "config.json").get(LINK, SOFTMAX))
    return PicturePredictor(trunk, head.to(trunk.device).eval(), about.choices, link)
