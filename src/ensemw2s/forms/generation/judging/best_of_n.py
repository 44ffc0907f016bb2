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
from ensemw2s.forms.generation.judging.judges import SeedJudges
from ensemw2s.forms.generation.labelling.candidates import Candidates, Columns
from ensemw2s.forms.generation.labelling.labels import PseudoAnswers, Samples
from ensemw2s.forms.generation.labelling.samples import draw_samples
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.rivals import GivenAnswers
from ensemw2s.forms.generation.scores import AnswerVoters
from ensemw2s.forms.prepared import SeedContext, rows_of
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
        finals = [[prepared.final(text) for text in each] for each in samples.texts]
        worth, asking = _worth_of(judges, prompts, samples, finals)
        answer = _numbered(finals)
        n = settings.samples
        picks = best_of.best(worth, n), best_of.commonest(answer, samples.probability, n)
        for kind, pick in zip(kinds, picks, strict=True):
            chosen[kind][part] = tuple(each[k] for each, k in zip(samples.texts, pick.tolist(), strict=True))
        drawing.append(cost)
        judging.append(asking)
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
    finals = [[prepared.final(text) for text in each] for each in samples.texts]
    answer = _numbered(finals)
    places = _places([[prepared.final(text) for text in there] for there in candidates.texts], finals)
    worth = Judged().worth(judges.of_columns(prompts, candidates.columns)).gather(1, places)
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


def _worth_of(
    judges: SeedJudges, prompts: Sequence[str], samples: Samples, finals: Sequence[Sequence[str]]
) -> tuple[Float[Tensor, "items samples"], Cost]:
    """What the judges find of each sample, -inf where it says nothing; and what asking them costs."""
    said = [
        [text if final else None for text, final in zip(*each, strict=True)]
        for each in zip(samples.texts, finals, strict=True)
    ]
    columns = [list(dict.fromkeys(each)) for each in said]
    worth = Judged().worth(judges.of_columns(prompts, columns)).gather(1, _places(columns, said))
    return worth, judges.columns_cost(prompts, columns)


def _numbered(finals: Sequence[Sequence[str]]) -> Int[Tensor, "items samples"]:
    """A number for each distinct answer to a question; -1 where it says nothing."""
    distinct = [list(dict.fromkeys(each)) for each in finals]
    says_nothing = torch.tensor([[not final for final in each] for each in finals])
    return _places(distinct, finals).masked_fill(says_nothing, -1)


def _places(known: Columns, given: Columns) -> Int[Tensor, "items samples"]:
    """The place of each given answer among those known of its question."""
    return torch.tensor(
        [[there.index(text) for text in each] for there, each in zip(known, given, strict=True)], dtype=torch.long
    )
