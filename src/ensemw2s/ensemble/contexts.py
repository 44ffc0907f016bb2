"""What stands before a question, as text: labelled examples, a sentence, or what a model wrote of the question.

Nothing here knows a model: who writes is handed in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.config import DecodingConfig, EnsembleConfig
from ensemw2s.config.context import ContextConfig
from ensemw2s.core.seeds import stream
from ensemw2s.errors import ConfigError
from ensemw2s.prompting import answer_text
from ensemw2s.tables import METHODS

BLANK = "\n\n"


@dataclass(frozen=True)
class Context:
    """What one member reads before each question."""

    prefix: str = ""
    """The same text before every question; empty where it reads the question alone."""
    texts: tuple[str, ...] = ()
    """Of each example another; none where all have the same."""


@dataclass(frozen=True)
class ContextSource:
    """What the contexts of one seed are made of."""

    config: ContextConfig
    prompts: Sequence[str]
    """Of the labelled easy examples that are in no other part of the seed."""
    labels: Int[Tensor, " spare"]
    """Of these."""
    choices: tuple[str, ...]
    """Classes; one alone where answers are texts."""
    n_members: int
    seed: int
    answers: Sequence[str] | None = None
    """To these prompts, where answers are texts; None: their classes."""
    questions: Sequence[str] = ()
    """Prompts of all examples of the run."""
    write: Callable[[Sequence[str], DecodingConfig], list[str]] | None = None
    """What a pretrained model writes after these prompts; None where contexts are not written."""


ContextMaker = Callable[[ContextSource, int], Context]
"""From the source and a member's number to what that member reads."""


def demonstrations(source: ContextSource, position: int) -> Context:
    """Labelled examples, each with its answer (2309.03433)."""
    places = dealt_demonstrations(source)[position]
    answers = source.answers or [source.choices[k] for k in source.labels.tolist()]
    return Context(shown([(source.prompts[i], answers[i]) for i in places]))


def principles(source: ContextSource, position: int) -> Context:
    """The member's own sentence (2310.05910)."""
    sentence = source.config.principles[position]
    return Context(sentence + BLANK if sentence else "")


def arguments(source: ContextSource, position: int) -> Context:
    """A reason for every choice, in an order that members rotate (2402.00667, 2501.13124)."""
    assert source.write is not None
    choices, n = source.choices, len(source.questions)
    claims = [f"{question}{answer_text(choice)} because" for choice in choices for question in source.questions]
    reasons = source.write(claims, REASONS)
    turned = [(position + k) % len(choices) for k in range(len(choices))]
    return Context(
        texts=tuple("".join(f"{choices[k]} because {reasons[k * n + i]}\n" for k in turned) + "\n" for i in range(n))
    )


def knowledge(source: ContextSource, position: int) -> Context:
    """A fact on the question, drawn anew for each member (2402.00667, its interaction)."""
    assert source.write is not None
    asked = [f"{question}\n{FACT}" for question in source.questions]
    facts = source.write(asked, FACTS.model_copy(update={"seed": position}))
    return Context(texts=tuple(f"{FACT} {fact}{BLANK}" for fact in facts))


FACT = "A relevant fact:"
REASONS = DecodingConfig(max_new_tokens=24)
"""How reasons are written: greedily, to the end of the line."""
FACTS = DecodingConfig(max_new_tokens=24, temperature=0.7)
WRITTEN = ("arguments", "knowledge")
"""Contexts that a model writes for each question."""
CONTEXTS: dict[str, ContextMaker] = {
    "demonstrations": demonstrations,
    "principles": principles,
    "arguments": arguments,
    "knowledge": knowledge,
}


def exportable(config: EnsembleConfig) -> tuple[str, ...]:
    """Methods whose ensembles can be exported: not those that read what was written for each question of the run."""
    return tuple(m for m in config.methods if config.context.kind not in WRITTEN or not METHODS[m].reads_contexts)


def most_before(config: ContextConfig, choices: Sequence[str]) -> tuple[int, str]:
    """Tokens that are written at most before one question, and the text beside them."""
    if config.kind == "arguments":
        return len(choices) * REASONS.max_new_tokens, "".join(f"{choice} because \n" for choice in choices) + "\n"
    return (FACTS.max_new_tokens, f"{FACT} {BLANK}") if config.kind == "knowledge" else (0, "")


def shown(answered: Sequence[tuple[str, str]]) -> str:
    """Questions with their answers, as they stand before another question."""
    return "".join(f"{prompt}{answer_text(answer)}{BLANK}" for prompt, answer in answered)


def dealt_demonstrations(source: ContextSource) -> list[list[int]]:
    """Places of each member's demonstrations among the spare examples.

    No two members share one, a member's classes are balanced to within one, and what the first members read does not
    depend on how many there are.

    Raises:
        ConfigError: the pool is too small.
    """
    n, n_classes = source.config.n, len(source.choices)
    decks: list[list[int]] = []
    for k, choice in enumerate(source.choices):
        has = (source.labels == k).nonzero()[:, 0]
        needed = len(range(k, n * source.n_members, n_classes))
        if len(has) < needed:
            of_class, of_that = (f" of the class {choice!r}", " of that class") if n_classes > 1 else ("", "")
            raise ConfigError(
                f"ensemble.context.n: {source.n_members} members read {n} demonstrations each, {needed} of them"
                f"{of_class}, and of the easy pool {len(has)}{of_that} are in no other part of seed "
                f"{source.seed}; raise split.n_easy_pool, or lower ensemble.context.n or ensemble.n_rounds"
            )
        decks.append(
            has[torch.randperm(len(has), generator=stream(source.seed, "demonstrations", "class", k))].tolist()
        )
    found: list[list[int]] = []
    for position in range(source.n_members):
        dealt = [decks[j % n_classes][j // n_classes] for j in range(position * n, (position + 1) * n)]
        order = torch.randperm(n, generator=stream(source.seed, "demonstrations", "order", position))
        found.append([dealt[i] for i in order.tolist()])
    return found
