"""Export of a trained classifier: in the library's own format where it fits, else with our head beside the model."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from ensemw2s.export.exported import AGAIN, Package, answers_of, check_choices, check_exported, check_finite, seal
from ensemw2s.export.mixture import load_mixtures, save_mixtures
from ensemw2s.export.place import exported_folder
from ensemw2s.export.vector_student import is_on_vectors
from ensemw2s.meter import working
from ensemw2s.models.adapting.adapters import build_adapter, head_of, load_owned, owned_state
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.adapting.mixture import taken_out
from ensemw2s.models.assembled.classifier import classifier, merged
from ensemw2s.models.loading.anatomy import share
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.checkpoint import fingerprint, runs_code_of
from ensemw2s.models.loading.contents import read_settings, strings_of
from ensemw2s.models.loading.load import load_backbone, make_backbone
from ensemw2s.models.loading.pooling import is_librarys
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.loading.refusal import explained
from ensemw2s.models.trunk import pooled_features
from ensemw2s.prompting import Prompting, prompt_ids
from ensemw2s.storage.files import new_folder
from ensemw2s.storage.records import read_record

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
    card: str | Callable[[bool], str],
    template: str = Prompting.template,
    link: str = SOFTMAX,
    beside: Mapping[str, str] | None = None,
) -> None:
    """Write a student with these trained parameters into `folder`, in float32; an older student there is replaced.

    A linear head on a causal decoder becomes a folder that `AutoModelForSequenceClassification` loads: the
    architecture cut, trained layers or LoRA merged in, `score.weight` = weight / scale, the choices as labels, a
    padding token of its own. Anything else becomes the base model with `head.safetensors` and `ensemw2s.json` beside
    it, and mixtures of low-rank updates in a file of theirs. Memory: one float32 copy of the model, and with `full` one
    more of what is trained.

    Args:
        card: text of README.md, or what makes it when it is told whether the library loads the folder by itself.
        template: template of the training prompts.
        link: how logits become probabilities. The library's classifier returns logits, and `ensemw2s_link` in
            config.json names the link.
        beside: further text files, by name.

    Raises:
        ModelError: the state is of another adapter or number of classes, or the folder cannot be written.
    """
    cut = backbone.cut(config.n_layers or backbone.n_layers)
    private = replace(cut, model=copy.deepcopy(cut.model).float(), dtype=torch.float32)
    unused = torch.Generator()  # every parameter is overwritten by the state
    adapter = build_adapter(config, private, len(choices), dropout=0.0, init_std=0.0, generator=unused)
    load_owned(adapter, state)
    base, head = merged(private, adapter), head_of(adapter)
    mixtures = taken_out(base)
    pooling, read = config.pooling, private.pooling
    if (narrowed := head.narrowed()) is not None:
        head, place = narrowed
        pooling, read = read[place], read[place : place + 1]
    tokenizer = copy.deepcopy(backbone.tokenizer)
    is_plain = is_librarys(read, is_causal=private.is_causal)
    whole = classifier(share(base), head, choices, tokenizer) if is_plain and not mixtures else None
    if whole is None:
        tokenizer = copy.deepcopy(backbone.tokenizer)
    tokenizer.model_max_length = config.max_length
    setattr((whole or base).config, LINK, link)
    with new_folder(folder) as temporary, quiet():
        (whole or base).save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        if whole is None:
            hidden = head.hidden.out_features if head.hidden is not None else 0
            save_file(owned_state(head), temporary / HEAD)
            about = Package(choices=tuple(choices), head_hidden=hidden, pooling=pooling)
            (temporary / PACKAGE).write_text(about.text(), encoding="utf-8")
        save_mixtures(temporary, mixtures)
        for name, text in (beside or {}).items():
            (temporary / name).write_text(text, encoding="utf-8")
        page = card if isinstance(card, str) else card(whole is not None)
        seal(temporary, page, Prompting(template, config.chat), has_own_code=config.trust_remote_code_from is not None)


@dataclass(frozen=True)
class Predictor:
    """A loaded student."""

    backbone: Backbone
    head: Head
    choices: tuple[str, ...]
    chat: bool = False
    link: str = SOFTMAX
    """Name in `LINKS` of the function from logits to log-probabilities."""

    @property
    def longest(self) -> int:
        """Largest number of tokens of a prompt."""
        longest, positions = int(self.backbone.tokenizer.model_max_length), self.backbone.positions
        return longest if positions is None else min(longest, positions)

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt."""
        with quiet():  # the library warns of long prompts, which are refused before they are read
            return prompt_ids(self.backbone.tokenizer, prompts, chat=self.chat)

    def answers(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """For each prompt: answer, confidence and the probability of each class. Raises DataError as `log_probs`."""
        return answers_of(self.log_probs(prompts).exp(), self.choices)

    def log_probs(self, prompts: Sequence[str], *, batch_tokens: int = 2048) -> Float[Tensor, "examples classes"]:
        """Log-probabilities of `choices` for each prompt, in order, in float32 on the CPU.

        Raises:
            DataError: a prompt is empty, or longer than the student was trained to read.
        """
        if not prompts:
            return torch.empty(0, len(self.choices))
        token_ids = self.encode(prompts)
        longest = self.backbone.tokenizer.model_max_length
        for prompt, ids in zip(prompts, token_ids, strict=True):
            if not 0 < len(ids) <= longest:
                raise DataError(
                    f"prompt {prompt[:60]!r}: it has {len(ids)} tokens, the student reads 1 to {longest}; "
                    "shorten or drop it"
                )
        depth = self.backbone.n_layers
        with working("answering", "tokens", sum(map(len, token_ids))) as advance:
            pooled = pooled_features(self.backbone, token_ids, [depth], batch_tokens=batch_tokens, on_tokens=advance)
        features = pooled[depth]
        with torch.no_grad():
            logits = self.head(features.unsqueeze(1), torch.ones(len(features), 1).long())
            return LINKS[self.link].log_probs(logits).cpu()


def load_student(folder: str | Path, *, trusted: str | None = None) -> Predictor:
    """Load what `export_student` wrote, in either format.

    Args:
        folder: of the student, or OWNER/NAME on the hub.
        trusted: repository whose own code may run, as named by the user: the folder itself or a hub id.

    Raises:
        ModelError: the folder is no exported student, or is damaged; or the hub does not give it.
    """
    folder, trusted = exported_folder(folder, trusted)
    if is_on_vectors(folder):
        raise ModelError(
            f"{folder}: this student reads vectors and no prompts; load it by Student.load, or answer the rows of a "
            "file: ensemw2s predict --features FILE"
        )
    path = folder / "config.json"
    is_package = (folder / PACKAGE).exists()
    settings = read_settings(str(folder), path) if path.is_file() else {}
    if not is_package and not any(
        name.endswith("ForSequenceClassification") for name in strings_of(settings.get("architectures"))
    ):
        raise ModelError(
            f"{folder}: not a student (no {PACKAGE} and no sequence classifier in config.json); name the "
            "folder that a run exported"
        )
    link, chat = _link_of(path, settings), Prompting.load(folder).chat
    about = read_record(folder / PACKAGE, Package, mend=AGAIN) if is_package else None
    check_exported(folder)
    with explained(str(folder), folder), quiet():
        predictor = _load_package(folder, about, trusted) if about else _load_classifier(folder, trusted)
    check_choices(folder, predictor.choices)
    check_finite(folder, predictor.backbone.model)
    check_finite(folder, predictor.head)
    return replace(predictor, chat=chat, link=link)


def _link_of(path: Path, settings: Mapping[str, object]) -> str:
    """The student's link; softmax for older folders, which do not name one."""
    link = settings.get(LINK, SOFTMAX)
    if not isinstance(link, str) or link not in LINKS:
        raise ModelError(
            f"{path}: {LINK} is {link!r}, this version reads {', '.join(LINKS)}; install the version "
            "that exported the student"
        )
    return link


def _load_classifier(folder: Path, trusted: str | None) -> Predictor:
    trust = runs_code_of(str(folder), folder, trusted)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=trust, local_files_only=True
    )
    score = getattr(model, "score", None)
    if not isinstance(score, nn.Linear) or score.bias is not None:
        raise ModelError(
            f"{folder}: a {type(model).__name__} is not a student of this package; load it with transformers"
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
    base = getattr(model, model.base_model_prefix)
    backbone = make_backbone(base, tokenizer, name=str(folder), fingerprint=fingerprint(folder, None))
    choices = tuple(str(model.config.id2label[k]) for k in range(model.config.num_labels))
    state = {"score.weight": score.weight, "scale": torch.ones(score.in_features)}
    return Predictor(backbone, _head(backbone, len(choices), 0, state), choices)


def _load_package(folder: Path, about: Package, trusted: str | None) -> Predictor:
    name = str(folder)
    place = ModelConfig(
        model=name, dtype="float32", pooling=about.pooling, trust_remote_code_from=name if trusted == name else None
    )
    backbone = load_backbone(place, below_mixtures=True)
    load_mixtures(folder, backbone.model)
    n_classes = len(about.choices)
    return Predictor(backbone, _head(backbone, n_classes, about.head_hidden, load_file(folder / HEAD)), about.choices)


def _head(backbone: Backbone, n_classes: int, hidden: int, state: Mapping[str, Tensor]) -> Head:
    head = Head(backbone.feature_size, n_classes, hidden, 0.0, 0.0, torch.Generator())
    load_owned(head, state)
    return head.to(backbone.device).eval()
