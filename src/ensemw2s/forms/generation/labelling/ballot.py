"""What is said of a seed's unlabelled questions, and what a student of it learns."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import Recipe
from ensemw2s.core.labels import Labelled, Votes
from ensemw2s.core.losses.tokens import Targets
from ensemw2s.core.selection import Evidence
from ensemw2s.data.people import people_among
from ensemw2s.ensemble.words.mixtures import Mixtures
from ensemw2s.errors import DataError
from ensemw2s.evaluation import costs
from ensemw2s.forms.generation.judging.judges import SeedJudges
from ensemw2s.forms.generation.labelling.candidates import Candidates
from ensemw2s.forms.generation.labelling.labels import PseudoAnswers, write_pseudo_answers, writing_cost
from ensemw2s.forms.generation.prepare import join, joined_inputs
from ensemw2s.forms.generation.scores import AnswerVoters, Scorer
from ensemw2s.forms.generation.training_set import AnswerTrainingSet
from ensemw2s.forms.prepared import Labels, SeedContext
from ensemw2s.records import AnswerTokens
from ensemw2s.results import Cost
from ensemw2s.train.answers import AnswerSupervision
from ensemw2s.train.supervision import weights_and_pace

if TYPE_CHECKING:
    from ensemw2s.forms.generation.students import AnswerStudents


@dataclass(frozen=True)
class AnswerBallot:
    """Texts as columns of their own question."""

    students: "AnswerStudents"
    seed: SeedContext
    teacher: str
    candidates: Candidates
    checker: AnswerVoters
    """The strong model that learned the easy answers."""
    own: PseudoAnswers
    """What it answers."""
    judges: SeedJudges | None = None
    mixtures: Mixtures | None = None
    """Behind the teacher's own answers, where a recipe learns them."""

    @property
    def votes(self) -> Votes:
        judges, votes = self.judges, self.candidates.votes
        if judges is None:
            return votes
        return votes._replace(judged=lambda: judges.of_columns(self.prompts, self.candidates.columns))

    @property
    def prompts(self) -> list[str]:
        """Texts of the unlabelled questions."""
        rows: list[int] = self.seed.draw.hard_unlabelled.tolist()
        return [self.students.prepared.split.examples[row].prompt for row in rows]

    def judging_cost(self) -> Cost:
        if self.judges is None:
            return costs.NOTHING
        return costs.total([self.judges.cost, self.judges.columns_cost(self.prompts, self.candidates.columns)])

    def add(self, seed: SeedContext, voters: AnswerVoters) -> tuple[Float[Tensor, "items classes"], Cost]:
        prepared = self.students.prepared
        said = write_pseudo_answers(prepared, seed, voters, ["student"])
        cost = writing_cost(prepared, voters, seed.draw.hard_unlabelled, said)
        return self.candidates.add(said), cost

    def answers(self, labelled: Labelled) -> tuple[str, ...]:
        return tuple(self.candidates.chosen(self.candidates.spoken(labelled)))

    def answered(self, labelled: Labelled) -> Labelled:
        labelled = self.candidates.spoken(labelled)
        # A question that nobody answered has nothing to be learned from, so no selection shall spend its share on it.
        answered = torch.tensor([bool(text) for text in self.candidates.chosen(labelled)])
        return labelled._replace(keep=labelled.keep & answered if bool(answered.any()) else labelled.keep)

    def evidence(self, *, reads_own: bool) -> Evidence:
        soft = self.votes.soft
        nothing = torch.zeros(0, soft.shape[1]), torch.zeros(0, dtype=torch.long)
        if not reads_own:
            return Evidence(self.votes.member, torch.zeros_like(soft), *nothing, _no_features)
        own_answer = self.candidates.places([text.strip() for text in self.own.texts])
        return Evidence(self.votes.member, self._own(), *nothing, _no_features, own_answer=own_answer)

    def _own(self) -> Float[Tensor, "items classes"]:
        """Of each text, the probability per token that the strong model gives it that learned the easy answers."""
        prepared, texts = self.students.prepared, self.candidates.texts
        places = [(i, k) for i, each in enumerate(texts) for k, text in enumerate(each) if text]
        owner = torch.tensor([i for i, _ in places])
        rows = self.seed.draw.hard_unlabelled[owner]
        answers = self.checker.role.answers(rows, [texts[i][k] for i, k in places], prepared.names_of(rows))
        scores = Scorer(prepared, self.seed.store).scores(self.checker, answers, torch.arange(len(places)))
        means = torch.stack([part.double().mean() for part in scores.gold[-1].split(scores.sizes.tolist())])
        own = torch.zeros_like(self.votes.soft)
        own[owner, torch.tensor([k for _, k in places])] = means.exp().float()
        return own

    def training_set(
        self, labelled: Labelled, recipe: Recipe, *, on_the_way: bool = False, known: Labels | None = None
    ) -> AnswerTrainingSet:
        """What a recipe learns of the likeliest texts, and of the easy answers where it shall.

        Raises:
            DataError: nobody answered any of the questions that are kept.
        """
        prepared, hard = self.students.prepared, self.seed.draw.hard_unlabelled
        texts = list(self.candidates.chosen(labelled))
        labelled = self._with_people(texts, labelled)
        answered = torch.tensor([i for i, text in enumerate(texts) if text], dtype=torch.long)
        kept = labelled.keep[answered].nonzero()[:, 0]
        if not len(kept):
            raise DataError(
                f"seed {self.seed.seed}: {self.teacher}, {recipe.name}: none of the {int(labelled.keep.sum())} "
                "unlabelled questions that are kept has an answer; train the experts longer (expert_training), or look "
                "at generation.decoding.stop"
            )
        rows = hard[answered]
        given = prepared.strong.answers(rows, [texts[i] for i in answered], prepared.names_of(rows))
        easy = self.students.labels(self.seed, known)
        both, inputs = join(easy.answers, given), joined_inputs(easy.inputs, prepared.strong.open(given.read))
        learned = len(easy.answers.ids) + kept
        if recipe.with_easy:
            learned = torch.cat([easy.learned, learned])
        difficulty = prepared.split.difficulty
        of_each = torch.cat([difficulty[easy.rows], difficulty[rows]])
        of_rows, pace = weights_and_pace(recipe, labelled.soft.amax(-1)[answered][kept].float(), of_each[learned])
        weights = torch.ones(len(both.targets))
        weights[both.tokens_of(learned)] = of_rows.repeat_interleave(both.offsets.diff()[learned])
        supervision = AnswerSupervision(both, learned, weights, pace, self._soft(both, answered.tolist(), recipe))
        validation = self.students.validation(self.seed) if known is None else None
        return AnswerTrainingSet(self.students.training, inputs, supervision, validation)

    def _soft(self, answers: AnswerTokens, answered: list[int], recipe: Recipe) -> Targets | None:
        """The teacher's doubt about its answers, which come last; easy answers and people's are certain."""
        if not recipe.learns_mixtures:
            return None
        assert self.mixtures is not None, "kept wherever a recipe learns them"
        certain = self.people()
        given = [None if i in certain else i for i in answered]
        written = [*[None] * (len(answers.ids) - len(given)), *given]
        n_tokens = self.students.prepared.strong.backbone.n_tokens
        return self.mixtures.targets(answers, written, share=recipe.soft_share, n_tokens=n_tokens)

    def people(self) -> dict[int, str]:
        """People's answers, by the question's place among the unlabelled ones."""
        prepared = self.students.prepared
        return people_among(prepared.people, prepared.names_of(self.seed.draw.hard_unlabelled))

    def _with_people(self, texts: list[str], labelled: Labelled) -> Labelled:
        """Put people's answers in the place of pseudo-answers, as certain, so that no recipe drops one."""
        labelled = Labelled(labelled.soft.clone(), labelled.keep.clone())
        for i, answer in self.people().items():
            texts[i], labelled.keep[i] = answer, True
            labelled.soft[i] = torch.zeros_like(labelled.soft[i])
            labelled.soft[i, 0] = 1.0
        return labelled


def _no_features() -> tuple[Tensor, Tensor]:
    raise NotImplementedError("no selection that judges texts reads features")
