"""The judges of a seed: made through the store, and what they cost. The strong model is each of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import canonical_hash
from ensemw2s.data.encode import encode
from ensemw2s.ensemble.words.judges import ByAnswer, ByPrinciples, Judge, Shown
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.evaluation import costs
from ensemw2s.forms.generation.judging.reading import judging, read_by
from ensemw2s.forms.generation.judging.training import trained_judges
from ensemw2s.forms.generation.labelling.candidates import Columns
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.role import AnswerRole
from ensemw2s.forms.generation.scores import AnswerVoters, PoolVoters
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.models.activations import pooled_for_depths
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, artifact_key

JUDGEMENT_VERSION = 1


@dataclass(frozen=True)
class SeedJudges:
    """The judges of one seed, as one `Judge`: what they say is kept in the store."""

    seed: SeedContext
    judge: Judge
    deciding: dict[str, Any]
    """Of what they say, beside what they are asked."""
    cost: Cost
    """Of making them."""
    asking: Callable[[Sequence[str], Sequence[Sequence[str]]], Cost]
    """What asking them costs."""

    def __call__(
        self, prompts: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> list[Float[Tensor, "judges answers"]]:
        """Scores of every answer to each prompt; where the first one is compared with the others, it should be the
        answer that would be given without judges."""
        sizes = [len(each) for each in answers]
        if not sum(sizes):
            return [torch.zeros(1, 0) for _ in sizes]
        asked = canonical_hash([list(prompts), [list(each) for each in answers]])
        key = artifact_key(JUDGEMENT_VERSION, {**self.deciding, "asked": asked})
        kept = self.seed.memo(
            "judgements", key, lambda: Artifact({"scores": torch.cat(self.judge(prompts, answers), dim=1)}, {})
        )
        return list(kept.tensors["scores"].split(sizes, dim=1))

    def of_columns(self, prompts: Sequence[str], columns: Columns) -> Float[Tensor, "judges items columns"]:
        """Scores over the columns of each question; -inf where there is no answer."""
        each = self(prompts, _answers(columns))
        scores = torch.full((max(map(len, each)), len(columns), max(map(len, columns))), -torch.inf)
        for i, (there, said) in enumerate(zip(columns, each, strict=True)):
            scores[:, i, [k for k, text in enumerate(there) if text is not None]] = said
        return scores

    def columns_cost(self, prompts: Sequence[str], columns: Columns) -> Cost:
        """Of asking them about every answer."""
        return self.asking(prompts, _answers(columns))


def seed_judges(
    prepared: AnswerPrepared, seed: SeedContext, first: AnswerVoters | PoolVoters, on_easy: AnswerVoters
) -> SeedJudges | None:
    """The judges that the settings name, made or found; None where there are none.

    Args:
        first: the first ensemble of the run, whose wrong answers trained judges learn from.
        on_easy: the strong model that learned the easy answers.
    """
    settings = prepared.config.judges
    if settings.kind == "none":
        return None
    if settings.kind == "likelihood":
        return by_likelihood(prepared, seed, on_easy)
    if settings.kind == "principles":
        return by_principles(prepared, seed)
    made, cost = trained_judges(prepared, seed, first)
    return by_reward(prepared, seed, made, cost)


def by_reward(
    prepared: AnswerPrepared, seed: SeedContext, directions: Float[Tensor, "judges dim"], cost: Cost
) -> SeedJudges:
    """Judges that multiply the feature of a question with its answer."""
    role = prepared.strong

    def score(prompts: Sequence[str], answers: Sequence[str]) -> Float[Tensor, "judges texts"]:
        ids = [one[:-1] for one in read_by(role, prompts, answers).ids]  # the end is the same token for all
        return directions @ _last_states(prepared, seed, role, ids).T

    def asking(prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> Cost:
        n_tokens, n_texts = _read(role, prompts, answers)
        return _reading(role, n_tokens, 2.0 * directions.numel() * n_texts)

    return SeedJudges(
        seed, ByAnswer(score), {"reward": canonical_hash(directions.tolist()), **judging(role)}, cost, asking
    )


def by_likelihood(prepared: AnswerPrepared, seed: SeedContext, voters: AnswerVoters) -> SeedJudges:
    """One judge: the mean log-likelihood per token of an answer, its end included, under these voters."""
    role, vote = voters.role, prepared.token_vote

    def score(prompts: Sequence[str], answers: Sequence[str]) -> Float[Tensor, "judges texts"]:
        given = read_by(role, prompts, answers)
        models, rows = role.load(voters.states), torch.arange(len(answers))
        gold = score_answers(models, role.open(given.read), given, rows, weights=voters.weights, vote=vote).gold[-1]
        return torch.stack([part.mean() for part in gold.split(given.offsets.diff().tolist())]).unsqueeze(0)

    def asking(prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> Cost:
        n_prompt_tokens, n_texts = _read(role, prompts, answers)
        if not n_texts:  # nobody says anything, and a tokenizer reads no empty list
            return costs.NOTHING
        given = sum(len(one) for one in role.backbone.tokenizer([a for each in answers for a in each])["input_ids"])
        return _reading(role, n_prompt_tokens, 2.0 * role.head_weights * given)

    deciding = {"likelihood": list(voters.keys), "weights": voters.weights.tolist(), "vote": vote, **judging(role)}
    return SeedJudges(seed, ByAnswer(score), deciding, costs.NOTHING, asking)


def by_principles(prepared: AnswerPrepared, seed: SeedContext) -> SeedJudges:
    """The untrained model, asked by each principle."""
    role, principles = prepared.strong, prepared.config.judges.principles
    letters = torch.tensor([_only_token(role, letter) for letter in "ab"])

    def lead(shown: Sequence[Shown]) -> Float[Tensor, " shown"]:
        states = _last_states(prepared, seed, role, _encoded(role, [each.text for each in shown]))
        logits = role.unembedding.of_tokens(states, letters)
        return logits[:, 0] - logits[:, 1]

    def asking(prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> Cost:
        shown = [Shown(p, a, each[0], "") for p, each in zip(prompts, answers, strict=True) for a in each[1:]]
        n_tokens = sum(map(len, _encoded(role, [each.text for each in shown])))
        n_own = sum(map(len, _encoded(role, principles)))
        return _reading(role, 2 * (len(principles) * n_tokens + len(shown) * n_own))

    deciding = {"principles": list(principles), **judging(role)}
    return SeedJudges(seed, ByPrinciples(principles, lead), deciding, costs.NOTHING, asking)


def _answers(columns: Columns) -> list[list[str]]:
    return [[text for text in there if text is not None] for there in columns]


def _last_states(
    prepared: AnswerPrepared, seed: SeedContext, role: AnswerRole, ids: Sequence[Sequence[int]]
) -> Float[Tensor, "texts dim"]:
    """The state of each text's last token, which are not kept: what is made of them is."""
    backbone, depth = replace(role.backbone, pooling=("last",)), role.backbone.n_layers
    cache = prepared.config.cache.model_copy(update={"trunk_cache": "memory"})
    states = pooled_for_depths(backbone, ids, [depth], cache=cache, store=seed.store)[depth]
    return states.batch(torch.arange(len(ids)))[0][:, 0]


def _encoded(role: AnswerRole, texts: Sequence[str]) -> list[list[int]]:
    names = [f"a judge's question {text!r:.60}" for text in texts]
    # `max_length` bounds what is trained on; a question that shows two answers is longer.
    limit = role.backbone.positions or max((len(text.encode()) for text in texts), default=0) + 8
    return encode(role.backbone.tokenizer, texts, names=names, max_length=limit, positions=role.backbone.positions)


def _only_token(role: AnswerRole, letter: str) -> int:
    return role.backbone.tokenizer(letter, add_special_tokens=False)["input_ids"][-1]  # pyright: ignore


def _read(role: AnswerRole, prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Tokens of every prompt with each of its answers, and how many these are."""
    asked = [prompt for prompt, each in zip(prompts, answers, strict=True) for _ in each]
    given = [answer for each in answers for answer in each]
    return (sum(map(len, read_by(role, asked, given).ids)), len(given)) if given else (0, 0)


def _reading(role: AnswerRole, n_tokens: int, flops: float = 0.0) -> Cost:
    """The whole model reads these tokens."""
    return costs.NOTHING.model_copy(update={"flops": (role.trunk_flops + role.own_flops) * n_tokens + flops})
