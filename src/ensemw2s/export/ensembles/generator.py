"""A saved student or ensemble that generates, opened whole: for rows of a file, a server or a benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from ensemw2s.config import DecodingConfig
from ensemw2s.core.voting import Vote
from ensemw2s.ensemble.words.decode import Decoded, Decoding, decode
from ensemw2s.ensemble.words.members import Members
from ensemw2s.ensemble.words.scores import StagedScores, score_answers
from ensemw2s.ensemble.words.separate import SeparateModels
from ensemw2s.export.answerer import ABOUT, Answers
from ensemw2s.export.exported import AGAIN, check_exported, check_finite
from ensemw2s.export.mixture import load_mixtures
from ensemw2s.models.inputs import IdInputs
from ensemw2s.models.loading.checkpoint import runs_code_of
from ensemw2s.models.loading.positions import positions_of
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.loading.refusal import explained
from ensemw2s.prompting import Prompting, prompt_ids
from ensemw2s.records import AnswerTokens
from ensemw2s.storage.records import read_record


@dataclass(frozen=True)
class Generator:
    """Models that write together, or one student alone, with everything that decides an answer."""

    members: Members
    expert_weights: Float[Tensor, " members"]
    vote: Vote
    tokenizer: PreTrainedTokenizerBase
    decoding: DecodingConfig
    """How the run's own answers are written."""
    longest: int
    """Largest number of tokens of a prompt and its answer together."""
    n_tokens: int
    """Number of tokens that have an embedding; the tokenizer may know more."""
    prompting: Prompting

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt, as a user's turn where the models were trained on turns."""
        with quiet():  # the library warns of long prompts, which are refused by `fault`
            return prompt_ids(self.tokenizer, prompts, chat=self.prompting.chat)

    def fault(self, ids: Sequence[int], n_new: int) -> str:
        """Why this prompt cannot be answered with `n_new` tokens; empty where it can."""
        most = self.longest - n_new
        if not 0 < len(ids) <= most:
            return (
                f"its prompt has {len(ids):,} tokens, and with {n_new:,} for the answer the models read 1 to {most:,}; "
                "shorten it, or ask for a shorter answer"
            )
        if (largest := max(ids)) >= self.n_tokens:
            return (
                f"its prompt has the token number {largest:,}, and the models have embeddings of 0 to "
                f"{self.n_tokens - 1:,} alone; take that text out of it"
            )
        return ""

    def begin(self) -> Decoding:
        """Decoding that answers can join."""
        return Decoding(self.members, self.expert_weights, self.tokenizer, vote=self.vote)

    def write(self, prompts: Sequence[Sequence[int]], decoding: DecodingConfig, names: Sequence[str]) -> list[Decoded]:
        """Answers to these prompts, in order; the names seed the draws (`ensemble.decode.Row`)."""
        members, weights, tokenizer = self.members, self.expert_weights, self.tokenizer
        return decode(members, weights, tokenizer, prompts, decoding, vote=self.vote, row_ids=names)

    def score(self, sequences: Sequence[Sequence[int]], prompt_lengths: Sequence[int]) -> StagedScores:
        """Teacher-forced scores of the tokens after each prompt; those of the vote are the last of each.

        A vote holds no token for less likely than 1e-12 (`core.voting`); one model by itself is scored as it is.
        """
        answers = AnswerTokens(tuple(map(tuple, sequences)), tuple(prompt_lengths))
        inputs, rows = IdInputs(answers.read, self.members.pad_id), torch.arange(len(sequences))
        weights = self.expert_weights if self.members.n_members > 1 else None
        return score_answers(self.members, inputs, answers, rows, weights=weights, vote=self.vote)


def student_generator(folder: Path, *, trusted: str | None = None) -> Generator:
    """Open an exported student that generates.

    Args:
        trusted: repository whose own code may run (`export.classifier.load_student`).

    Raises:
        ModelError: the folder is none, or is damaged.
    """
    about, prompting = read_record(folder / ABOUT, Answers, mend=AGAIN), Prompting.load(folder)
    check_exported(folder)
    trust = runs_code_of(str(folder), folder, trusted)
    with explained(str(folder), folder), quiet():
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=trust, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
    load_mixtures(folder, getattr(model, model.base_model_prefix))
    check_finite(folder, model)
    positions = positions_of(model.config)
    longest = about.max_length if positions is None else min(about.max_length, positions)
    embeddings: Tensor = model.get_input_embeddings().weight  # pyright: ignore[reportAssignmentType]
    members = SeparateModels([model], [tokenizer])
    return Generator(members, torch.ones(1), "soft", tokenizer, about.decoding, longest, len(embeddings), prompting)
