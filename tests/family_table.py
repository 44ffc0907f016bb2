"""Tiny random checkpoints of the families of the transformers library, made by their own configuration classes.

Biases, norms and scales are drawn, too, so that nothing is neutral by accident: a trained model's are not.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel

from ensemw2s.models.loading.tiny import byte_tokenizer

COMMON: dict[str, Any] = {
    "vocab_size": 264,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "initializer_range": 0.2,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
LOCAL = GROUPED | {"sliding_window": 4}
EXPERTS = GROUPED | {"num_experts": 3, "num_local_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
ROTARY = {"rotary_dim": 4, "n_ctx": 512}
NEO = {"num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]], "window_size": 8}
MAMBA2 = {"state_size": 4, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8}
LATENT = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "topk_method": "greedy",
}
DECODERS: dict[str, dict[str, Any]] = {
    "llama": GROUPED,
    "mistral": LOCAL,
    "mixtral": EXPERTS,
    "qwen2": GROUPED,
    "qwen3": GROUPED,
    "qwen2_moe": EXPERTS | {"shared_expert_intermediate_size": 16},
    "qwen3_moe": EXPERTS,
    "gemma": GROUPED,
    "gemma2": LOCAL | {"query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0},
    "gemma3_text": LOCAL,
    "cohere": GROUPED | {"logit_scale": 0.25},
    "cohere2": LOCAL | {"logit_scale": 0.25},
    "granite": GROUPED | {"logits_scaling": 8.0, "embedding_multiplier": 3.0, "tie_word_embeddings": True},
    "granitemoe": EXPERTS | {"logits_scaling": 8.0},
    "phi": {},
    "phi3": GROUPED | {"pad_token_id": 0},
    "gpt2": {},
    "gptj": ROTARY,
    "codegen": ROTARY,
    "gpt_neo": NEO,
    "gpt_neox": {},
    "gpt_bigcode": {},
    "gpt_oss": EXPERTS | {"sliding_window": 4},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.2},
    "opt_projected": {"ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False, "init_std": 0.2},
    "bloom": {},
    "falcon": {"num_kv_heads": 2, "new_decoder_architecture": True},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 4, "max_seq_len": 512},
    "olmo": GROUPED,
    "olmo2": GROUPED,
    "olmoe": EXPERTS,
    "stablelm": GROUPED,
    "starcoder2": GROUPED,
    "smollm3": GROUPED,
    "nemotron": GROUPED,
    "glm": GROUPED,
    "glm4": GROUPED,
    "exaone4": LOCAL,
    "helium": GROUPED,
    "ernie4_5": GROUPED,
    "arcee": GROUPED,
    "apertus": GROUPED,
    "persimmon": {},
    "biogpt": {},
    "xglm": {"d_model": 32, "attention_heads": 4, "num_layers": 4, "ffn_dim": 64, "init_std": 0.2},
    "ctrl": {"n_embd": 32, "n_layer": 4, "n_head": 4, "dff": 64, "n_positions": 512},
    "openai-gpt": {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 512},
    "modernbert-decoder": {"local_attention": 4, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 1},
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "mamba": {"state_size": 4},
    "falcon_mamba": {"state_size": 4},
    "mamba2": MAMBA2,
    "recurrent_gemma": {"lru_width": 32, "num_key_value_heads": 1, "head_dim": 8, "logits_soft_cap": 3.0},
    "lfm2": GROUPED,
    "rwkv": {"attention_hidden_size": 32, "context_length": 512},
    "falcon_h1": GROUPED
    | {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 4}
    | {"mamba_chunk_size": 8, "lm_head_multiplier": 0.5},
    "bamba": GROUPED
    | {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 4, "mamba_chunk_size": 8}
    | {"attn_layer_indices": [1, 3]},
    "jamba": EXPERTS
    | {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "mamba_d_state": 4}
    | {"mamba_dt_rank": 4, "use_mamba_kernels": False},
    "zamba2": {"mamba_d_state": 4, "n_mamba_heads": 8, "mamba_headdim": 8, "mamba_ngroups": 1, "chunk_size": 8}
    | {"layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "attention_head_dim": 16, "num_key_value_heads": 4},
    "qwen3_next": EXPERTS
    | {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
    | {"shared_expert_intermediate_size": 16},
    "xlnet": {"d_model": 32, "n_layer": 4, "n_head": 4, "d_inner": 64, "max_position_embeddings": None},
}
ENCODERS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "xlm-roberta": {},
    "camembert": {},
    "distilbert": {"hidden_dim": 64},
    "albert": {"embedding_size": 16},
    "electra": {"embedding_size": 16},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "modernbert": {"local_attention": 4, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 1},
    "mpnet": {},
    "roformer": {"embedding_size": 32},
    "squeezebert": {"embedding_size": 32},
    "funnel": {
        "block_sizes": [2, 2],
        "d_model": 32,
        "n_head": 4,
        "d_head": 8,
        "d_inner": 64,
        "num_hidden_layers": None,
    },
    "nystromformer": {"num_landmarks": 8, "segment_means_seq_len": 512},
    "convbert": {"embedding_size": 32, "head_ratio": 2, "conv_kernel_size": 3},
    "megatron-bert": {},
    "ernie": {},
    "layoutlm": {},
    "big_bird": {"attention_type": "original_full"},
    "longformer": {"attention_window": 8},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "mobilebert": {
        "embedding_size": 32,
        "true_hidden_size": 32,
        "intra_bottleneck_size": 32,
        "normalization_type": "layer_norm",
    },
    "fnet": {},
    "ibert": {},
    "mra": {"block_per_row": 2},
    "yoso": {},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 16},
    "esm": {"position_embedding_type": "rotary", "mask_token_id": 2},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "xlm": {"emb_dim": 32, "n_layers": 4, "n_heads": 4, "n_words": 264, "pad_index": 0},
    "flaubert": {"emb_dim": 32, "n_layers": 4, "n_heads": 4, "n_words": 264, "pad_index": 0},
    "nomic_bert": {},
    "eurobert": GROUPED,
}
TYPES = {"opt_projected": "opt"}
"""The model type of a family that stands here under another name."""
FAST = (
    "llama",
    "gemma2",
    "cohere",
    "phi",
    "gpt2",
    "gpt_neo",
    "opt_projected",
    "mamba",
    "qwen3_moe",
    "bert",
    "roformer",
)
"""Tried in every test run; the others with the marker `families`."""


def make_family(folder: Path, family: str) -> Path:
    """Write a model of four layers with a tokenizer of a token for every byte."""
    settings = {k: v for k, v in (COMMON | (DECODERS | ENCODERS)[family]).items() if v is not None}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = AutoConfig.for_model(TYPES.get(family, family), **settings)
        config.architectures = config.architectures or []  # of two classes for one type, the library asks for the name
        model = (AutoModelForCausalLM if family in DECODERS else AutoModel).from_config(config)
        unsettle(model)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@torch.no_grad()
def unsettle(model: PreTrainedModel) -> None:
    """Norms, biases and scales as those of a trained model: neither 0 nor 1."""
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter += 0.3 * torch.randn(parameter.shape)
