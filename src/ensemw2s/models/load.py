"""From a model's name to a frozen backbone: resolved, checked, cut to its first layers, and fingerprinted."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.anatomy import cut_config, cut_model
from ensemw2s.models.checkpoint import checkpoint_folder, fingerprint, own_code, weight_files
from ensemw2s.models.declared import check_declared
from ensemw2s.models.quiet import quiet

UNEMBEDDINGS = ("lm_head.weight", "embed_out.weight")
LOGIT_SETTINGS = ("final_logit_softcapping", "logit_scale", "logits_scaling")
"""With these set, a logit is more than the product of a feature and a row."""
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
LOADING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    ImportError,
    SafetensorError,
    # A file of valid JSON that holds something else: the library finds out by stumbling.
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    IndexError,
    StrictDataclassError,
)


@dataclass(frozen=True)
class Backbone:
    """A frozen pretrained model without its language-model head, shared by everything that reads it."""

    model: PreTrainedModel
    """In evaluation mode, no parameter requires a gradient."""
    tokenizer: PreTrainedTokenizerBase
    n_layers: int
    hidden_size: int
    is_causal: bool
    """Measured, not declared: whether a token's state is blind to the tokens after it."""
    dtype: torch.dtype
    name: str
    fingerprint: str
    """Of the checkpoint's content and revision, whatever `n_layers` and `dtype` it was loaded with."""
    unembedding: Float[Tensor, "vocab dim"] | None
    """The input embeddings, uncopied, where tied to the output; else None (see `unembedding_rows`)."""

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def pad_id(self) -> int:
        """What fills a batch; its positions are masked, so any token of the vocabulary would do."""
        pad_id = self.tokenizer.pad_token_id
        return pad_id if isinstance(pad_id, int) else 0

    def cut(self, n_layers: int) -> "Backbone":
        """The first `n_layers` layers and the final norm, over the same weights."""
        if n_layers == self.n_layers:
            return self
        return replace(self, model=cut_model(self.model, 0, n_layers), n_layers=n_layers)


def device() -> torch.device:
    """Where models run: the first CUDA device, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(config: ModelConfig) -> torch.dtype:
    """The trunk's dtype; `auto` is bfloat16 where the machine has instructions for it, else float32.

    A tiny random model is float32 everywhere: there is nothing to gain, and its runs are the same on every machine.
    """
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    if config.model == "tiny":
        return torch.float32
    if device().type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    # Without these instructions the CPU emulates bfloat16: measured five times slower than float32.
    can = torch.cpu.get_capabilities()
    return torch.bfloat16 if can.get("amx_bf16") or can.get("avx512_bf16") else torch.float32


def load_backbone(config: ModelConfig, n_layers: int | None = None) -> Backbone:
    """Load the first `n_layers` layers of a checkpoint (None: `config.n_layers`, else all).

    Raises:
        ModelError: there is no such model; it has no safetensors, no tokenizer, fewer layers than asked for,
            or weights that do not fit its configuration; it wants to run its own code and is not trusted.
    """
    folder = checkpoint_folder(config)
    check_declared(config.model, folder)
    trust = own_code(config, folder)
    with quiet(), explained(config.model, folder):
        model_config = AutoConfig.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
        model_config = _cut(config, model_config, n_layers or config.n_layers)
        tokenizer = _tokenizer(config, folder, trust)
        weight_files(config, folder)
        model, info = AutoModel.from_pretrained(
            folder,
            config=model_config,
            dtype=choose_dtype(config),
            use_safetensors=True,
            trust_remote_code=trust,
            local_files_only=True,
            output_loading_info=True,
        )
    # The pooler of an encoder is trained for another purpose and often absent; we pool ourselves.
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if missing:
        raise ModelError(
            f"{config.model}: the checkpoint in {folder} lacks {missing[0]} and {len(missing) - 1} other "
            "tensors; fetch it again"
        )
    return make_backbone(model, tokenizer, name=config.model, fingerprint=fingerprint(folder, config.revision))


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint, without its weights. Raises ModelError where there is none."""
    folder = checkpoint_folder(config)
    check_declared(config.model, folder)
    trust = own_code(config, folder)
    with quiet(), explained(config.model, folder):
        return _tokenizer(config, folder, trust)


def make_backbone(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str, fingerprint: str
) -> Backbone:
    """Freeze a loaded model (its pooler removed), move it to `device()` and measure what it is."""
    if getattr(model, "pooler", None) is not None:
        setattr(model, "pooler", None)  # noqa: B010  (pyright knows no such attribute)
    model.requires_grad_(False).eval()
    nn.Module.to(model, device())
    embeddings = model.get_input_embeddings().weight
    assert isinstance(embeddings, Tensor)
    is_causal = _is_causal(model)
    tied = is_causal and getattr(model.config, "tie_word_embeddings", False)
    return Backbone(
        model=model,
        tokenizer=tokenizer,
        n_layers=model.config.num_hidden_layers,
        hidden_size=model.config.hidden_size,
        is_causal=is_causal,
        dtype=model.dtype,
        name=name,
        fingerprint=fingerprint,
        unembedding=embeddings if tied and embeddings.shape[1] == model.config.hidden_size else None,
    )


def unembedding_rows(config: ModelConfig, token_ids: Sequence[int] | None = None) -> Float[Tensor, "tokens dim"]:
    """Rows of the output embedding (None: all), read from the file without loading the model: float32, on the CPU.

    The inner product with a final-normed feature is that token's logit.

    Raises:
        ModelError: the checkpoint has no output embedding (an encoder), its logits are no plain product with it, or a
            token is outside its vocabulary.
    """
    folder = checkpoint_folder(config)
    found: dict[str, Path] = {}
    for file in weight_files(config, folder):
        with safe_open(file, "pt") as tensors:
            found |= {key: file for key in tensors.keys() if key.endswith((*UNEMBEDDINGS, *EMBEDDINGS))}  # noqa: SIM118
    check_declared(config.model, folder)
    untied = [key for key in found if key.endswith(UNEMBEDDINGS)]
    with quiet(), explained(config.model, folder):
        model_config = AutoConfig.from_pretrained(
            folder, trust_remote_code=own_code(config, folder), local_files_only=True
        )
    # A masked encoder transforms its features before it compares them with its embeddings.
    inputs = [key for key in found if "embeddings.word_embeddings" not in key]
    tied = inputs if getattr(model_config, "tie_word_embeddings", False) else []
    if not (keys := untied or tied):
        raise ModelError(
            f"{config.model}: no output embedding in {folder}, so it cannot be scored zero-shot; use a "
            "causal language model"
        )
    if bent := [name for name in LOGIT_SETTINGS if getattr(model_config, name, None) not in (None, 1.0)]:
        raise ModelError(
            f"{config.model}: its logits are changed by {bent[0]}, which this package does not apply; use another model"
        )
    with safe_open(found[keys[0]], "pt") as tensors:
        if token_ids is None:
            return tensors.get_tensor(keys[0]).float()
        rows = tensors.get_slice(keys[0])
        vocabulary = rows.get_shape()[0]
        if outside := [i for i in token_ids if not 0 <= i < vocabulary]:
            raise ModelError(
                f"{config.model}: token {outside[0]} is outside its vocabulary of {vocabulary}; encode with "
                "its own tokenizer"
            )
        return torch.cat([rows[i : i + 1] for i in token_ids]).float()


def _cut(config: ModelConfig, model_config: PretrainedConfig, n_layers: int | None) -> PretrainedConfig:
    has = getattr(model_config, "num_hidden_layers", None)
    if has is None or getattr(model_config, "is_encoder_decoder", False):
        raise ModelError(
            f"{config.model}: a {model_config.model_type} model is not a plain text model; use a decoder or an encoder"
        )
    if n_layers is None:
        return model_config
    if n_layers > has:
        raise ModelError(
            f"{config.model}: n_layers is {n_layers} but the checkpoint has {has} layers; set n_layers to {has} or less"
        )
    return cut_config(model_config, 0, n_layers)


def _tokenizer(config: ModelConfig, folder: Path, trust: bool) -> PreTrainedTokenizerBase:
    # Without this check the library makes an empty tokenizer from the model's type.
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{config.model}: no tokenizer in {folder} (looked for {', '.join(TOKENIZER_FILES)}); save the "
            "model's tokenizer there"
        )
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)


def _is_causal(model: PreTrainedModel) -> bool:
    ids = torch.arange(3, 9, device=model.device).unsqueeze(0) % model.config.vocab_size
    other = ids.clone()
    other[0, -1] = 2
    with torch.inference_mode():
        first, second = (model(input_ids=x, attention_mask=torch.ones_like(x)).last_hidden_state for x in (ids, other))
    return torch.allclose(first[:, :-1], second[:, :-1], rtol=1e-3, atol=1e-4)


@contextlib.contextmanager
def explained(name: str, folder: Path) -> Iterator[None]:
    """The library's many ways of saying that a folder cannot be loaded, as one."""
    try:
        yield
    except LOADING_ERRORS as error:
        reason = " ".join(str(error).split())[:300]
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"{name}: the model runs code of its own repository, which is refused by default; read that "
                f"code, then set trust_remote_code_from: {name}"
            ) from None
        raise ModelError(
            f"{name}: the model in {folder} cannot be loaded: {reason}; check the folder or fetch it again"
        ) from error
