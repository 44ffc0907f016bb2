"""Best of n: of drawn answers the one that judges find best, beside the commonest and beside any that is right."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core import best_of
from ensemw2s.core.labels.judged import Judged
from ensemw2s.data.answers import is_right
from ensemw2s.evaluation import costs
from ensemw2s.evaluation.scored import SamplesRight
from ensemw2s.forms.base import SeedContext, rows_of
from ensemw2s.forms.generation.judging.judges import SeedJudges
from ensemw2s.forms.generation.labelling.candidates import Candidates
from ensemw2s.forms.generation.labelling.labels import PseudoAnswers, Samples
from ensemw2s.forms.generation.labelling.samples import draw_samples
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.rivals import GivenAnswers
from ensemw2s.forms.generation.scores import AnswerVoters
from ensemw2s.results import Cost
from ensemw2s.results.conditions import BEST_OF_N, MAJORITY_OF_N, ConditionKind


def best_of_n(
    prepared: AnswerPrepared, seed: SeedContext, voters: AnswerVoters, judges: SeedJudges
) -> dict[ConditionKind, tuple[GivenAnswers, Cost]]:
    """A model's answers to easy-val and the tests, chosen among `generation.samples` drawn ones by the judges, and by
    the majority; and what drawing them and asking the judges cost."""
    settings = prepared.config.generation
    kinds: tuple[ConditionKind, ...] = (BEST_OF_N, MAJORITY_OF_N)
    chosen: dict[ConditionKind, dict[str, tuple[str, ...]]] = {kind: dict[str, tuple[str, ...]]() for kind in kinds}
    drawing, judging = list[Cost](), list[Cost]()
    for part, rows in rows_of(prepared, seed).items():
        samples, cost = draw_samples(prepared, seed, voters, rows, settings.samples, settings.sample_temperature)
        prompts = [prepared.split.examples[row].prompt for row in rows.tolist()]
        said = [list(dict.fromkeys(text for text in each if prepared.final(text))) for each in samples.texts]
        column = [{text: k for k, text in enumerate(each)} for each in said]
        places = torch.tensor(
            [[there.get(text, -1) for text in each] for there, each in zip(column, samples.texts, strict=True)]
        )
        worth = worth_of(judges, prompts, said, places)
        answer = _numbered(prepared, samples)
        n = settings.samples
        picks = best_of.best(worth, n), best_of.commonest(answer, samples.probability, n)
        for kind, pick in zip(kinds, picks, strict=True):
            chosen[kind][part] = tuple(each[k] for each, k in zip(samples.texts, pick.tolist(), strict=True))
        drawing.append(cost)
        judging.append(judges.asking(prompts, said))
    spent: dict[ConditionKind, Cost] = {
        BEST_OF_N: costs.total([*drawing, *judging]),
        MAJORITY_OF_N: costs.total(drawing),
    }

    def again(kind: ConditionKind) -> Callable[[AnswerPrepared, SeedContext], Mapping[str, tuple[str, ...]]]:
        return lambda other, seed: best_of_n(other, seed, voters.reading(other), judges)[kind][0].texts

    return {kind: (GivenAnswers(texts, again(kind)), spent[kind]) for kind, texts in chosen.items()}


def samples_right(
    prepared: AnswerPrepared, prompts: Sequence[str], labels: PseudoAnswers, judges: SeedJudges, truths: Sequence[str]
) -> list[SamplesRight]:
    """How right the choices among the first 1, 2, 4 and so on of a teacher's samples are.

    Judges are asked about the same answers as by the label model `judged`.
    """
    samples = labels.samples
    assert samples is not None
    candidates = Candidates.of(labels, 0, prepared.final)
    columns = [{prepared.final(text): k for k, text in enumerate(there)} for there in candidates.texts]
    answer = torch.tensor(
        [
            [there[prepared.final(text)] if prepared.final(text) else -1 for text in each]
            for there, each in zip(columns, samples.texts, strict=True)
        ]
    )
    worth = Judged().worth(judges.of_candidates(prompts, candidates)).gather(1, answer.clamp_min(0))
    worth = worth.masked_fill(answer < 0, -torch.inf)
    right = torch.tensor(
        [
            [is_right(text, truth, verifier=prepared.task.verifier) for text in each]
            for each, truth in zip(samples.texts, truths, strict=True)
        ]
    )

    def share(pick: Int[Tensor, " items"]) -> float:
        return float(right.gather(1, pick[:, None]).double().mean())

    return [
        SamplesRight(
            n,
            judged=share(best_of.best(worth, n)),
            majority=share(best_of.commonest(answer, samples.probability, n)),
            any=float(right[:, :n].any(1).double().mean()),
        )
        for n in best_of.sizes(answer.shape[1])
    ]


def worth_of(
    judges: SeedJudges, prompts: Sequence[str], said: Sequence[Sequence[str]], places: Int[Tensor, "items samples"]
) -> Float[Tensor, "items samples"]:
    """What the judges find of each sample, by its place among the distinct answers; -inf where it says nothing."""
    each = judges(prompts, said)
    scores = torch.full((len(each[0]), len(said), max(1, *map(len, said), 1)), -torch.inf)
    for i, found in enumerate(each):
        scores[: len(found), i, : found.shape[1]] = found
    return Judged().worth(scores).gather(1, places.clamp_min(0)).masked_fill(places < 0, -torch.inf)


def _numbered(prepared: AnswerPrepared, samples: Samples) -> Int[Tensor, "items samples"]:
    """A number for each distinct answer to a question; -1 where it says nothing."""
    found: list[list[int]] = []
    for each in samples.texts:
        finals = [prepared.final(text) for text in each]
        order = {final: k for k, final in enumerate(dict.fromkeys(finals))}
        found.append([order[final] if final else -1 for final in finals])
    return torch.tensor(found)
