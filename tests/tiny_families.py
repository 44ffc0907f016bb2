"""Tiny random checkpoints of the families that the papers use, in the library's own format."""

from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
)

from ensemw2s.models.loading.tiny import make_tiny, write_random

COMMON = {
    "vocab_size": 258,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "initializer_range": 0.15,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
LOCAL = GROUPED | {"sliding_window": 4}
DECODERS = {
    "llama": GROUPED,
    "qwen2": GROUPED,
    "qwen3": GROUPED,
    "mistral": LOCAL,
    "gemma3_text": LOCAL,
    "olmo2": GROUPED,
    "gpt2": {},
    "gpt_neox": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.15},
}
ENCODERS = {
    "bert": {},
    "roberta": {},
    "distilbert": {"hidden_dim": 64},
    "modernbert": {"local_attention": 4, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 1},
}


def make_family(folder: Path, family: str) -> Path:
    """Write a model of four layers and random weights, with the byte-level tokenizer of `make_tiny`."""
    settings = COMMON | (DECODERS | ENCODERS).get(family, {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind = AutoModelForCausalLM if family in DECODERS or family == "bloom" else AutoModel
        model = kind.from_config(AutoConfig.for_model(family, **settings))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(make_tiny(folder / "tokenizer")).save_pretrained(folder)
    return folder


def make_merging(folder: Path, texts: list[str]) -> Path:
    """Write a GPT-2 of random weights whose tokenizer merges bytes, as it learned from these texts."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=300, special_tokens=["<pad>", "<end>"], show_progress=False)
    settings = COMMON | {"vocab_size": tokenizer.get_vocab_size()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", **settings))
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer, eos_token="<end>", pad_token="<pad>"
    ).save_pretrained(folder)
    return folder


def make_tiny_encoder(folder: Path, *, seed: int = 0, n_layers: int = 3, hidden_size: int = 32) -> Path:
    """Write a BERT of random weights with the byte-level tokenizer of `make_tiny`."""
    config = BertConfig(
        vocab_size=258,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        max_position_embeddings=1024,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        model = BertModel(config, add_pooling_layer=False)
    return write_random(folder, model, seed)
