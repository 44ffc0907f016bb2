"""The tokenizer of a checkpoint, loaded without its weights."""

from pathlib import Path

from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.checkpoint import checkpoint_folder, own_code
from ensemw2s.models.loading.contents import check_tokenizer_packages
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.loading.refusal import explained

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint. Raises ModelError where there is none."""
    folder = checkpoint_folder(config)
    trust = own_code(config, folder)
    with quiet(), explained(config.model, folder):
        return open_tokenizer(config, folder, trust)


def open_tokenizer(config: ModelConfig, folder: Path, trust: bool) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder, within `explained`. Raises ModelError where there is none."""
    # Without this check the library makes an empty tokenizer from the model's type.
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{config.model}: no tokenizer in {folder} (looked for {', '.join(TOKENIZER_FILES)}); save the "
            "model's tokenizer there"
        )
    check_tokenizer_packages(config.model, folder)
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
