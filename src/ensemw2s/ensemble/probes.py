"""Probes of a model for generation, with the adapter that will be trained on it."""

import functools
import tempfile
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from ensemw2s.config import ModelConfig, canonical_hash
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.reading import log_prob_limit
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.errors import ModelError
from ensemw2s.models.assembled.causal import library_form
from ensemw2s.models.language import AnswerModel, vocabulary_head
from ensemw2s.models.loading.anatomy import share
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.passes import pad
from ensemw2s.models.probes import PROBE_ERRORS, refuse, require, sample_texts
from ensemw2s.models.probes.memory import is_noted, note_of, write_note

N_TEXTS = 2
NOISE = 1.0
"""Size of the noise on low-rank updates, large enough that a missing update shows."""
MEND = "use another family such as Llama, Qwen or GPT-2"


def check_answerer(backbone: Backbone, config: ModelConfig) -> None:
    """Probe the adapter of `config` on short texts: in a padded batch, beside another member, and after export.

    Whether decoding can use cached keys and values is checked in `SharedTrunk`, because a model without such a cache is
    not refused.

    Raises:
        ModelError: the model cannot generate or has no end token; its log-probabilities differ from those of the
            library's causal model or change with padding; or an exported student differs from the trained one.
    """
    head, texts = vocabulary_head(backbone), sample_texts(backbone)[:N_TEXTS]
    settings = config.model_dump(mode="json", exclude={"model", "max_length"})
    note = note_of(backbone, {"probes": "answerer", "layers": backbone.n_layers, "settings": settings})
    if is_noted(note):
        return
    key = ("answerer", canonical_hash(settings))
    end = backbone.tokenizer.eos_token_id
    if not isinstance(end, int) or not 0 <= end < len(head.weight):
        raise ModelError(
            f"{backbone.name}: its tokenizer's end token (eos_token) is {end}, which is none of the {len(head.weight)} "
            "that the model writes, so no answer would end; set it and save the tokenizer again"
        )
    is_lora = config.adapter == "lora"
    fresh = functools.cache(lambda: _model(backbone, config, 0, 0.0))
    # With copied weights, an export that missed them would already show, so only low-rank updates need noise.
    moved = functools.cache(lambda: _model(backbone, config, 0, NOISE) if is_lora else fresh())

    def library() -> PreTrainedModel:
        model = share(head.model)
        setattr(model, model.base_model_prefix, backbone.model)
        return model

    require(
        backbone,
        (key, "library"),
        lambda: _ours(backbone, [fresh()], texts),
        lambda: _theirs(library(), texts),
        what="its log-probabilities are not those of the library's own model, or change with padding",
        mend=MEND,
        limit=log_prob_limit(backbone.dtype),
    )
    require(
        backbone,
        (key, "export"),
        lambda: _ours(backbone, [moved()], texts),
        lambda: _theirs(library_form(moved(), backbone), texts),
        what=f"a student of adapter: {config.adapter} would not be the trained model once it is exported",
        mend="use adapter: top or full, or " + MEND if is_lora else MEND,
        limit=log_prob_limit(backbone.dtype),
    )
    if is_lora:
        require(
            backbone,
            (key, "beside"),
            lambda: _ours(backbone, [moved(), _model(backbone, config, 1, NOISE)], texts),
            lambda: _ours(backbone, [moved()], texts),
            what="low-rank members of one ensemble cannot be run together",
            mend="use adapter: top or full, name attention layers in lora_targets, or " + MEND,
            limit=log_prob_limit(backbone.dtype),
        )
    _check_config(backbone, library)
    write_note(note)


def _model(backbone: Backbone, config: ModelConfig, n: int, noise: float) -> AnswerModel:
    head = vocabulary_head(backbone)
    return AnswerModel(backbone, head, config, init_noise=noise, generator=stream(n, "probe")).eval()


def _ours(backbone: Backbone, models: list[AnswerModel], texts: list[list[int]]) -> Float[Tensor, "tokens vocab"]:
    """Log-probabilities of the first member at every token of a right-padded batch."""
    members = SharedTrunk(backbone, models)
    ids, mask = pad(texts, members.pad_id)
    states = members.read(ids, mask, None)[:, mask.bool()]
    return members.logits(states)[0].log_softmax(-1)


def _theirs(model: PreTrainedModel, texts: list[list[int]]) -> Float[Tensor, "tokens vocab"]:
    """Log-probabilities of the library's model at every token, each text by itself."""
    logits = [model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float() for ids in texts]
    return torch.cat(logits).log_softmax(-1)


def _check_config(backbone: Backbone, library: Callable[[], PreTrainedModel]) -> None:
    """Check that the configuration, cut to these layers, is the same after saving and loading. Raises ModelError."""
    key = ("config", backbone.n_layers)
    if key not in backbone.proven:
        backbone.proven[key] = _config_problem(library())
    if reason := backbone.proven[key]:
        refuse(
            backbone,
            f"its configuration, cut to {backbone.n_layers} layers, is not read again as it was written",
            reason,
            "leave out n_layers, or use another family such as Llama, Qwen or GPT-2",
        )


def _config_problem(model: PreTrainedModel) -> str:
    try:
        with quiet(), tempfile.TemporaryDirectory() as folder:
            model.config.save_pretrained(folder)
            config = type(model.config).from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            again = type(model)(config)
    except PROBE_ERRORS as failure:
        return f"{type(failure).__name__}: {' '.join(str(failure).split())[:200]}"
    shapes, loaded = ({name: list(p.shape) for name, p in m.named_parameters()} for m in (model, again))
    differing = sorted(name for name in shapes.keys() | loaded.keys() if shapes.get(name) != loaded.get(name))
    return f"another {differing[0]}" if differing else ""
