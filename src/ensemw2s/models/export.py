"""A trained student as a folder: in the library's own format where it fits, else with our head beside."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from ensemw2s.config import ModelConfig
from ensemw2s.core.losses import LINKS, SOFTMAX
from ensemw2s.errors import DataError, ModelError
from ensemw2s.models.adapters import build_adapter, head_of, load_owned, owned_state
from ensemw2s.models.anatomy import share
from ensemw2s.models.assembly import classifier, merged
from ensemw2s.models.checkpoint import fingerprint
from ensemw2s.models.folders import new_folder
from ensemw2s.models.head import Head
from ensemw2s.models.load import Backbone, explained, load_backbone, make_backbone
from ensemw2s.models.quiet import quiet
from ensemw2s.models.trunk import pooled_features
from ensemw2s.prompting import Prompting, prompt_ids

PACKAGE = "ensemw2s.json"
HEAD = "head.safetensors"
LINK = "ensemw2s_link"


def export_student(
    folder: Path,
    *,
    config: ModelConfig,
    backbone: Backbone,
    state: Mapping[str, Tensor],
    choices: Sequence[str],
    card: str,
    template: str = Prompting.template,
    link: str = SOFTMAX,
) -> None:
    """Write the student with this owned state into `folder`, in float32; an older student there is replaced.

    A linear head on a causal decoder becomes a folder that `AutoModelForSequenceClassification` loads: the
    architecture cut, own layers or LoRA merged in, `score.weight` = weight / scale, the choices as labels, a padding
    token of its own.
    Anything else becomes the base model with `head.safetensors` and `ensemw2s.json` beside it. `card` is the
    README.md, `template` what the prompts were made by, `link` how logits become probabilities: the library's
    classifier gives logits, and `ensemw2s_link` in config.json says how to read them. Memory: one float32 copy of the
    model, with `full` two.

    Raises:
        ModelError: the state is of another adapter or number of classes, or the folder cannot be written.
    """
    cut = backbone.cut(config.n_layers or backbone.n_layers)
    private = replace(cut, model=copy.deepcopy(cut.model).float(), dtype=torch.float32)
    nothing = torch.Generator()
    adapter = build_adapter(config, private, len(choices), dropout=0.0, init_std=0.0, generator=nothing)
    load_owned(adapter, state)
    base, head = merged(private, adapter), head_of(adapter)
    tokenizer = copy.deepcopy(backbone.tokenizer)
    whole = classifier(share(base), head, choices, tokenizer) if private.is_causal else None
    if whole is None:
        tokenizer = copy.deepcopy(backbone.tokenizer)
    tokenizer.model_max_length = config.max_length
    setattr((whole or base).config, LINK, link)
    with new_folder(folder) as temporary, quiet():
        (whole or base).save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        Prompting(template, config.chat).save(temporary)
        if whole is None:
            hidden = head.hidden.out_features if head.hidden is not None else 0
            save_file(owned_state(head), temporary / HEAD)
            about = {"format": 1, "choices": list(choices), "head_hidden": hidden}
            (temporary / PACKAGE).write_text(json.dumps(about, ensure_ascii=False, indent=1), encoding="utf-8")


@dataclass(frozen=True)
class Predictor:
    """A loaded student."""

    backbone: Backbone
    head: Head
    choices: tuple[str, ...]
    chat: bool = False
    link: str = SOFTMAX
    """How its logits become log-probabilities."""

    def log_probs(self, prompts: Sequence[str], *, batch_tokens: int = 2048) -> Float[Tensor, "examples classes"]:
        """Log-probabilities of `choices` for each prompt, in order; float32, on the CPU.

        Raises:
            DataError: a prompt is empty, or longer than the student was trained to read.
        """
        if not prompts:
            return torch.empty(0, len(self.choices))
        with quiet():
            token_ids = prompt_ids(self.backbone.tokenizer, prompts, chat=self.chat)
        longest = self.backbone.tokenizer.model_max_length
        for prompt, ids in zip(prompts, token_ids, strict=True):
            if not 0 < len(ids) <= longest:
                raise DataError(
                    f"prompt {prompt[:60]!r}: it has {len(ids)} tokens, the student reads 1 to {longest}; "
                    "shorten or drop it"
                )
        depth = self.backbone.n_layers
        features = pooled_features(self.backbone, token_ids, [depth], batch_tokens=batch_tokens)[depth]
        with torch.no_grad():
            logits = self.head(features.unsqueeze(1), torch.ones(len(features), 1).long())
            return LINKS[self.link].log_probs(logits).cpu()


def load_student(folder: Path) -> Predictor:
    """Load what `export_student` wrote, in either format.

    Raises:
        ModelError: the folder is no exported student, or is damaged.
    """
    with explained(str(folder), folder), quiet():
        if (folder / PACKAGE).is_file():
            return replace(_load_package(folder), chat=Prompting.load(folder).chat, link=_link_of(folder))
        path = folder / "config.json"
        names = json.loads(path.read_text(encoding="utf-8")).get("architectures") or [] if path.is_file() else []
        if not any(name.endswith("ForSequenceClassification") for name in names):
            raise ModelError(
                f"{folder}: not a student (no {PACKAGE} and no sequence classifier in config.json); name the "
                "folder that a run exported"
            )
        link = _link_of(folder)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        score = getattr(model, "score", None)
        if not isinstance(score, nn.Linear) or score.bias is not None:
            raise ModelError(
                f"{folder}: a {type(model).__name__} is not a student of this package; load it with transformers"
            )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        base = getattr(model, model.base_model_prefix)
        backbone = make_backbone(base, tokenizer, name=str(folder), fingerprint=fingerprint(folder, None))
        choices = tuple(model.config.id2label[k] for k in range(model.config.num_labels))
        state = {"score.weight": score.weight, "scale": torch.ones(score.in_features)}
        chat = Prompting.load(folder).chat
        return Predictor(backbone, _head(backbone, len(choices), 0, state), choices, chat, link)


def _link_of(folder: Path) -> str:
    """How the student's logits are read; softmax where an older folder does not say."""
    link = json.loads((folder / "config.json").read_text(encoding="utf-8")).get(LINK, SOFTMAX)
    if link not in LINKS:
        raise ModelError(
            f"{folder / 'config.json'}: {LINK} is {link!r}, this version reads {', '.join(LINKS)}; install the version "
            "that exported the student"
        )
    return link


def _load_package(folder: Path) -> Predictor:
    about = json.loads((folder / PACKAGE).read_text(encoding="utf-8"))
    backbone = load_backbone(ModelConfig(model=str(folder), dtype="float32"))
    choices = tuple(about["choices"])
    return Predictor(backbone, _head(backbone, len(choices), about["head_hidden"], load_file(folder / HEAD)), choices)


def _head(backbone: Backbone, n_classes: int, hidden: int, state: Mapping[str, Tensor]) -> Head:
    head = Head(backbone.feature_size, n_classes, hidden, 0.0, 0.0, torch.Generator())
    load_owned(head, state)
    return head.to(backbone.device).eval()
