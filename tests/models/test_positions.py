"""How many tokens a model reads: what its configuration says, against what the library's own model can run."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, DebertaV2Config, MambaConfig

from ensemw2s.models.loading.positions import positions_of

COMMON = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
COMMON |= {"intermediate_size": 16, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
KINDS = [
    "gpt2",
    "bert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "opt",
    "gpt_neo",
    "distilbert",
    "electra",
    "mpt",
]


def config_of(kind: str, n: int):
    extra = {"ffn_dim": 16, "word_embed_proj_dim": 16} if kind == "opt" else {}
    if kind == "gpt_neo":
        extra = {"num_layers": 1, "attention_types": [[["global"], 1]]}
    name = "max_seq_len" if kind == "mpt" else "max_position_embeddings"
    return AutoConfig.for_model(kind, **(COMMON | extra | {name: n}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_learned_positions_runs_up_to_them_and_not_beyond(kind):
    config = config_of(kind, 12)
    positions = positions_of(config)
    model = AutoModel.from_config(config).eval()
    ids = torch.full((1, positions + 1), 5)
    with torch.no_grad():
        model(ids[:, :positions], attention_mask=torch.ones_like(ids[:, :positions]))
        with pytest.raises((IndexError, RuntimeError)):
            model(ids, attention_mask=torch.ones_like(ids))


def test_a_model_without_positions_has_no_bound():
    assert positions_of(MambaConfig()) is None
    assert positions_of(DebertaV2Config(relative_attention=True, position_biased_input=False)) is None
    assert positions_of(DebertaV2Config(relative_attention=True)) == 512
