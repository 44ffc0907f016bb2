"""A trained student as a folder: in the library's own format where it fits, else with our head beside."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ensemw2s.config import ModelConfig
from ensemw2s.core.losses import LINKS, SOFTMAX
from ensemw2s.errors import DataError, ModelError
from ensemw2s.models.adapters import Adapter, Whole, build_adapter, head_of, load_owned, owned_state
from ensemw2s.models.anatomy import final_norm, layers_of
from ensemw2s.models.checkpoint import fingerprint
from ensemw2s.models.declared import check_declared
from ensemw2s.models.folders import new_folder
from ensemw2s.models.head import Head
from ensemw2s.models.load import Backbone, explained, load_backbone, make_backbone
from ensemw2s.models.quiet import quiet
from ensemw2s.models.trunk import pad, pool, pooled_features, run_model
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
    architecture cut, own layers or LoRA merged in, `score.weight` = weight / scale, the choices as labels.
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
    base, head = _merged(private, adapter), head_of(adapter)
    tokenizer = copy.deepcopy(backbone.tokenizer)
    tokenizer.model_max_length = config.max_length
    _set_pad(base, tokenizer)
    setattr(base.config, LINK, link)
    whole = _classifier(base, head, choices) if private.is_causal else None
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
        if path.exists():
            check_declared(str(folder), folder)
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
    head = Head(backbone.hidden_size, n_classes, hidden, 0.0, 0.0, torch.Generator())
    load_owned(head, state)
    return head.to(backbone.device).eval()


def _merged(private: Backbone, adapter: Adapter) -> PreTrainedModel:
    """The base model with what the adapter owns in place of, or added to, the pretrained weights."""
    if isinstance(adapter, Head):
        return private.model
    trained = adapter.model if isinstance(adapter, Whole) else adapter.upper
    for name, module in list(trained.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            trained.set_submodule(name, module.get_base_layer())
    if isinstance(adapter, Whole):
        return trained
    own = layers_of(trained)
    for ours, theirs in zip(own, layers_of(private.model)[-len(own) :], strict=True):
        theirs.load_state_dict(ours.state_dict())
    final_norm(private.model).load_state_dict(final_norm(trained).state_dict())
    return private.model


def _classifier(base: PreTrainedModel, head: Head, choices: Sequence[str]) -> PreTrainedModel | None:
    """The library's own classifier around `base`; None where it has none that gives our logits."""
    if head.hidden is not None:
        return None
    config = copy.deepcopy(base.config)
    config.num_labels = len(choices)
    config.id2label = dict(enumerate(choices))
    config.label2id = {choice: k for k, choice in enumerate(choices)}
    try:
        with torch.device("meta"):  # its weights are replaced: none is drawn or held
            whole = AutoModelForSequenceClassification.from_config(config)
    except ValueError:
        return None
    score = getattr(whole, "score", None)
    if not isinstance(score, nn.Linear) or score.bias is not None:
        return None
    setattr(whole, whole.base_model_prefix, base)
    base.config = whole.config = config
    whole.score = nn.Linear(head.scale.numel(), len(choices), bias=False, device=base.device)
    with torch.no_grad():
        whole.score.weight.copy_(head.score.weight / head.scale)
        whole.eval()
        ids, mask = pad([[3, 4, 5, 6, 7], [8, 9, 10]], config.pad_token_id)
        ids, mask = ids.to(base.device), mask.to(base.device)
        ours = head.classify(pool(run_model(base, ids, mask), mask, is_causal=True))
        theirs = whole(input_ids=ids, attention_mask=mask).logits
    return whole if torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4) else None


def _set_pad(base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    # The library's classifier reads the last token that is not padding: a padding token that can end a prompt
    # (end of text, end of turn) would move it. So prefer one that a prompt does not end with.
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    base.config.pad_token_id = tokenizer.pad_token_id
