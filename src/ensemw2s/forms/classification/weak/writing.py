"""What a pretrained model writes before any training, shard by shard through the store."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Generator

from ensemw2s.config import DecodingConfig, ModelConfig, canonical_hash
from ensemw2s.ensemble.words.decode import Decoded, decode
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.evaluation import costs
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.forms.costs import Amount
from ensemw2s.forms.role import Role
from ensemw2s.models.language import AnswerModel, vocabulary_head
from ensemw2s.prompting import prompt_ids
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, Store, artifact_key

VERSION = 1
"""Raise it when the same model would write something else."""


class Writer:
    """The pretrained model of a role, which writes.

    Args:
        shard_rows: prompts whose texts are stored together: what a kill can cost.
        chat: whether a prompt is a user's turn.
    """

    def __init__(self, role: Role, store: Store, shard_rows: int, *, chat: bool = False):
        self.role, self._store, self._shard_rows, self._chat = role, store, shard_rows, chat
        self._written: dict[str, tuple[list[str], Cost]] = {}

    def write(self, prompts: Sequence[str], decoding: DecodingConfig) -> list[str]:
        """The continuation of each prompt, without spaces around it."""
        return self._all(prompts, decoding)[0]

    def cost(self, prompts: Sequence[str], decoding: DecodingConfig) -> Cost:
        """Of writing these."""
        return self._all(prompts, decoding)[1]

    def compose(self, prompts: Sequence[str], decoding: DecodingConfig) -> list[Decoded]:
        """The continuations themselves; nothing is stored."""
        tokenizer = self.role.backbone.tokenizer
        ids = prompt_ids(tokenizer, prompts, chat=self._chat)
        return decode(self._members, torch.ones(1), tokenizer, ids, decoding, row_ids=list(prompts))

    def _all(self, prompts: Sequence[str], decoding: DecodingConfig) -> tuple[list[str], Cost]:
        whole = canonical_hash([list(prompts), decoding.model_dump()])
        if whole not in self._written:
            size = self._shard_rows
            shards = [self._shard(prompts[i : i + size], decoding) for i in range(0, len(prompts), size)]
            texts = [text for shard in shards for text in shard.record["texts"]]
            self._written[whole] = texts, costs.total(self._cost(shard) for shard in shards)
        return self._written[whole]

    def _shard(self, prompts: Sequence[str], decoding: DecodingConfig) -> Artifact:
        # How many are written at a time decides no text.
        deciding = {
            "version": VERSION,
            "writer": self.role.backbone.fingerprint,
            "dtype": str(self.role.backbone.dtype),
            "prompts": list(prompts),
            "decoding": decoding.model_dump(exclude={"batch_rows"}),
        }

        if self._chat:
            deciding["chat"] = True

        def compute() -> Artifact:
            n_read = sum(map(len, prompt_ids(self.role.backbone.tokenizer, prompts, chat=self._chat)))
            found = self.compose(prompts, decoding)
            n_written = sum(len(each.log_probs) for each in found)
            return Artifact({}, {"texts": [each.text.strip() for each in found], "read": n_read, "written": n_written})

        return self._store.memo("written", artifact_key(VERSION, deciding), compute)

    def _cost(self, shard: Artifact) -> Cost:
        read, written = shard.record["read"], shard.record["written"]
        return NOTHING.model_copy(update={"flops": self.flops(read, written)})

    def flops(self, read: Amount, written: Amount) -> float:
        """Of reading so many tokens and writing so many."""
        role = self.role
        head = vocabulary_head(role.backbone)
        return (role.trunk_flops + role.own_flops) * (read + written) + 2.0 * head.n_weights * written

    @cached_property
    def _members(self) -> SharedTrunk:
        backbone = self.role.backbone
        one_layer = ModelConfig(model=self.role.config.model, adapter="top", top_layers=1)  # untrained: as all others
        model = AnswerModel(backbone, vocabulary_head(backbone), one_layer, generator=Generator())
        return SharedTrunk(backbone, [model.eval()])
