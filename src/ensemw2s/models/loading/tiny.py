"""Random models of a few thousand weights in the library's own format, for runs without a network."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from ensemw2s.models.loading.quiet import quiet
from ensemw2s.storage.files import new_folder

SPECIAL = ("<pad>", "<eos>")


def make_tiny(folder: Path, *, seed: int = 0, n_layers: int = 4, hidden_size: int = 32) -> Path:
    """Write a Llama of random weights and a byte-level tokenizer; equal seeds give equal bytes."""
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + 256,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        model = LlamaForCausalLM(config)
    return write_random(folder, model, seed)


def write_random(folder: Path, model: PreTrainedModel, seed: int) -> Path:
    """Draw the matrices of a model anew and write it, with the byte-level tokenizer, into `folder`."""
    draw_matrices(model, seed)
    with new_folder(folder) as temporary, quiet():
        model.save_pretrained(temporary)
        byte_tokenizer().save_pretrained(temporary)
    return folder


def draw_matrices(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Draw the matrices of a model anew."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                # Unit gain per layer: at the usual 0.02 so narrow a model would hardly mix its tokens.
                parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
    return model


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A token for every byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate((*SPECIAL, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    pad, eos = SPECIAL
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, eos_token=eos)
