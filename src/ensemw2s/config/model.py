"""Settings of a model, and of the cache of its trunk's activations."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ensemw2s.config.base import Count, Frozen
from ensemw2s.names import FEATURES, TFIDF

Pooling = Literal["last", "mean", "cls"]


class ModelConfig(Frozen):
    model: str = "smollm2-135m"
    """A name that `ensemw2s fetch` knows, a hub id, a local folder, `tiny` (random weights, for tests), or in a pool of
    weak members `tf-idf`: logistic regression on weighed words, which has no further setting. `features:PATH` is a file
    of vectors of the examples, on which heads are trained."""
    revision: str | None = None
    n_layers: Count | None = None
    """Cut to the first layers; None keeps all. Of a file of vectors, which of its depths is read."""
    adapter: Literal["head", "top", "lora", "full"] = "head"
    """What is trained: a classifier on the pooled feature, a copy of the upper layers too, LoRA, or every weight (but
    see `train_embeddings`) in float32."""
    train_embeddings: bool = False
    """`full`: whether the embeddings of tokens and positions are trained, too. In generation a vocabulary head that is
    tied to them is trained or frozen with them; a head of its own is always trained."""
    pooling: Pooling | Literal["auto"] | None = None
    """What a classifier reads of a text: the state of its last token, the mean over its tokens, or the state of its
    first token (encoders). None is the last token of a causal model whose prompts all end in one word (a cue such as
    "Answer:") or in a question mark, else the mean. `auto` reads two of them, of which `solver: lbfgs` keeps what does
    best on easy validation data."""
    head_hidden: Annotated[int, Field(ge=0)] = 0
    """Width of the head's hidden layer; 0 is a linear head (which the library's own classes can load)."""
    top_layers: Count = 2
    """`top`: how many upper layers each expert owns."""
    lora_rank: Count = 8
    lora_alpha: Annotated[float, Field(gt=0)] = 16.0
    lora_layers: Count | None = None
    """`lora`: only on this many upper layers, over the shared and cached trunk; None is all layers."""
    lora_targets: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """`lora`: names of the linear layers that are updated, such as q_proj and v_proj; None is all of them."""
    chat: bool = False
    """Prompts are a user's turn in the tokenizer's chat template, answers the assistant's."""
    max_length: Count = 512
    """Tokens; a longer prompt is refused before any work."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the frozen weights, and what `full` computes in (its weights stay float32): `auto` is bfloat16 where the
    machine multiplies it fast."""
    trust_remote_code_from: str | None = None
    """Repository whose own code may run; it must equal `model`."""

    @model_validator(mode="after")
    def _trust_named(self) -> "ModelConfig":
        if self.trust_remote_code_from not in (None, self.model):
            raise ValueError(f"trust_remote_code_from must name the model itself ({self.model!r}) or be left out")
        return self

    @model_validator(mode="after")
    def _has_these(self) -> "ModelConfig":
        defaults = {name: field.default for name, field in type(self).model_fields.items() if name != "model"}
        changed = [name for name, default in defaults.items() if getattr(self, name) != default]
        if self.is_tfidf and changed:
            raise ValueError(f"{changed[0]} is a setting of a language model, and {TFIDF} is none; leave it out")
        if self.is_features and self.adapter != "head":
            raise ValueError(
                f"adapter: {self.adapter} trains layers of a model, and {self.model} is vectors alone; choose head"
            )
        if self.is_features and (foreign := [name for name in changed if name not in ("n_layers", "head_hidden")]):
            raise ValueError(
                f"{foreign[0]} is a setting of a language model, and {self.model} is vectors alone; leave it out"
            )
        if self.model == FEATURES:
            raise ValueError(f"{FEATURES} needs the path of a file of vectors after it")
        return self

    @property
    def is_tfidf(self) -> bool:
        """Whether it is no pretrained model, but TF-IDF of words with logistic regression."""
        return self.model == TFIDF

    @property
    def is_features(self) -> bool:
        """Whether it is a file of vectors: it reads no text, writes none, and only heads are trained on it."""
        return self.model.startswith(FEATURES)

    @property
    def is_linear(self) -> bool:
        """Whether a linear head is all that is trained."""
        return self.adapter == "head" and not self.head_hidden

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides a training beside the weights, which their own fingerprint names: for keys of the store."""
        where = {"model", "revision", "max_length", "dtype", "trust_remote_code_from"}
        # Younger settings count only where they are used, so that what older stores hold stays good.
        unused = {name for name in ("lora_targets", "chat", "pooling") if not getattr(self, name)}
        if self.train_embeddings or self.adapter != "full":  # `full` once trained them always
            unused.add("train_embeddings")
        return self.model_dump(exclude=where | unused)


class CacheConfig(Frozen):
    trunk_cache: Literal["auto", "memory", "disk", "off"] = "auto"
    """Where the trunk's activations live; `auto` is disk within the budget, else off (recomputed)."""
    budget_gib: Annotated[float, Field(gt=0)] = 20.0
    """Space that the activations of one model may take."""
    batch_tokens: Count = 2048
    """Tokens per forward pass of the trunk, padding included."""
    shard_rows: Count = 1024
    """Examples per shard: what a crash can cost."""
