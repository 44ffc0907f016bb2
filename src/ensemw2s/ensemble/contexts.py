"""What stands before a question, as text: labelled examples, or a sentence. Nothing here knows a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.config.context import ContextConfig
from ensemw2s.core.seeds import stream
from ensemw2s.errors import ConfigError
from ensemw2s.prompting import answer_text

BLANK = "\n\n"


@dataclass(frozen=True)
class Context:
    """What one member reads before each question."""

    prefix: str = ""
    """The same text before every question; empty where it reads the question alone."""


@dataclass(frozen=True)
class ContextSource:
    """What the contexts of one seed are made of."""

    config: ContextConfig
    prompts: Sequence[str]
    """Of the labelled easy examples that are in no other part of the seed."""
    labels: Int[Tensor, " spare"]
    """Of these."""
    choices: tuple[str, ...]
    n_members: int
    seed: int


ContextMaker = Callable[[ContextSource, int], Context]
"""From the source and a member's number to what that member reads."""


def demonstrations(source: ContextSource, position: int) -> Context:
    """Labelled examples, each with its answer (2309.03433)."""
    places = dealt_demonstrations(source)[position]
    return Context(shown([(source.prompts[i], source.choices[int(source.labels[i])]) for i in places]))


def principles(source: ContextSource, position: int) -> Context:
    """The member's own sentence (2310.05910)."""
    sentence = source.config.principles[position]
    return Context(sentence + BLANK if sentence else "")


CONTEXTS: dict[str, ContextMaker] = {"demonstrations": demonstrations, "principles": principles}


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
            raise ConfigError(
                f"ensemble.context.n: {source.n_members} members read {n} demonstrations each, {needed} of them of the "
                f"class {choice!r}, and of the easy pool {len(has)} of that class are in no other part of seed "
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
