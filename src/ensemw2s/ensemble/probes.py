"""What a model that answers in words is tried on before any work, with the adapter that will be trained on it."""

import functools
import json
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from ensemw2s.config import ModelConfig
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.members import SharedTrunk
from ensemw2s.ensemble.reading import log_prob_limit
from ensemw2s.models.anatomy import share
from ensemw2s.models.export_language import library_form
from ensemw2s.models.language import AnswerModel, vocabulary_head
from ensemw2s.models.load import Backbone
from ensemw2s.models.probes import PROBE_ERRORS, refuse, require, sample_texts
from ensemw2s.models.trunk import pad

NOISE = 1.0
"""Of the low-rank updates that are tried, so that one that is left out shows."""
MEND = "use another family such as Llama, Qwen or GPT-2"


def check_answerer(backbone: Backbone, config: ModelConfig) -> None:
    """Try the adapter of `config` on short texts: in a padded batch, beside another member, and as it is exported.

    Whether decoding may go on from keys and values is no reason to refuse: it is tried where members are put together.

    Raises:
        ModelError: the model does not write; its log-probabilities are not those of the library's own causal model or
            change with padding; a student of it would not be the trained one once it is exported and read again.
    """
    head, texts = vocabulary_head(backbone), sample_texts(backbone)
    key = ("answerer", config.model_dump_json(include={"adapter", "top_layers", "lora_layers", "lora_targets"}))
    n_members = 2 if config.adapter == "lora" else 1
    fresh = functools.cache(lambda: _members(backbone, config, 1, 0.0))
    # Copies of the weights are already other than what an export would read from the checkpoint's file.
    moved = functools.cache(lambda: _members(backbone, config, n_members, NOISE) if n_members > 1 else fresh())

    def library() -> PreTrainedModel:
        model = share(head.model)
        setattr(model, model.base_model_prefix, backbone.model)
        return model

    require(
        backbone,
        (key, "library"),
        lambda: _ours(fresh()[0], texts),
        lambda: _theirs(library(), texts),
        what="its log-probabilities are not those of the library's own model, or change with padding",
        mend=MEND,
        limit=log_prob_limit(backbone.dtype),
    )
    require(
        backbone,
        (key, "export"),
        lambda: _ours(moved()[0], texts),
        lambda: _theirs(library_form(moved()[1], backbone), texts),
        what=f"a student of adapter: {config.adapter} would not be the trained model once it is exported",
        mend=MEND,
        limit=log_prob_limit(backbone.dtype),
    )
    _check_config(backbone, library)


def _members(backbone: Backbone, config: ModelConfig, n: int, noise: float) -> tuple[SharedTrunk, AnswerModel]:
    """Members beside each other, and the first of them."""
    head = vocabulary_head(backbone)
    models = [
        AnswerModel(backbone, head, config, init_noise=noise, generator=stream(i, "probe")).eval() for i in range(n)
    ]
    return SharedTrunk(backbone, models), models[0]


def _ours(members: SharedTrunk, texts: list[list[int]]) -> Float[Tensor, "tokens vocab"]:
    """The first member's log-probabilities at every token of a batch padded on the right."""
    ids, mask = pad(texts, members.pad_id)
    states = members.read(ids, mask, None)[:, mask.bool()]
    return members.logits(states)[0].log_softmax(-1)


def _theirs(model: PreTrainedModel, texts: list[list[int]]) -> Float[Tensor, "tokens vocab"]:
    """The same of the library's model, each text by itself."""
    found = [model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float() for ids in texts]
    return torch.cat(found).log_softmax(-1)


def _check_config(backbone: Backbone, library: Callable[[], PreTrainedModel]) -> None:
    """Raises ModelError where the configuration, cut to these layers, is not read again as it was written."""
    key = ("config", backbone.n_layers)
    if key not in backbone.proven:
        backbone.proven[key] = _config_problem(library())
    if found := backbone.proven[key]:
        refuse(
            backbone,
            f"its configuration, cut to {backbone.n_layers} layers, is not read again as it was written",
            found,
            "leave out n_layers, or use another family such as Llama, Qwen or GPT-2",
        )


def _config_problem(model: PreTrainedModel) -> str:
    try:
        config = type(model.config).from_dict(json.loads(model.config.to_json_string()))
        with torch.device("meta"):
            again = type(model)(config)
    except PROBE_ERRORS as failure:
        return f"{type(failure).__name__}: {' '.join(str(failure).split())[:200]}"
    here, there = ({name: list(p.shape) for name, p in m.named_parameters()} for m in (model, again))
    differing = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    return f"another {differing[0]}" if differing else ""
