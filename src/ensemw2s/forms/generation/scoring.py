"""Generated answers held against the true ones: exact match, token error and log loss per answer token."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ensemw2s.core.routing import RoutingSignals
from ensemw2s.ensemble.label import Ensemble
from ensemw2s.evaluation import costs
from ensemw2s.evaluation.routing_signals import RoutingRecord
from ensemw2s.evaluation.scored import Growth, PseudoLabels, Restarted, SamplesRight, Scored, ScoredVoters
from ensemw2s.forms.costs import evaluation_cost, trunk_cost
from ensemw2s.forms.generation.experts import AnswerExperts, evaluated_by, tokens_of
from ensemw2s.forms.generation.judging.best_of_n import samples_right
from ensemw2s.forms.generation.judging.judges import SeedJudges
from ensemw2s.forms.generation.labelling.labels import PseudoAnswers, answering_cost, right_texts, written_texts
from ensemw2s.forms.generation.pool import pool_right
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.rivals import GivenAnswers
from ensemw2s.forms.generation.scores import AnswerVoters, PoolVoters, Scorer
from ensemw2s.forms.prepared import SeedContext, Truth, rows_of
from ensemw2s.names import BOOSTING
from ensemw2s.results import AnswerSample, Cost, TokenShare, TokenWeights
from ensemw2s.results.conditions import SELF

N_SAMPLES = 8
N_TOKENS = 8


@dataclass(frozen=True)
class AnswerScoring:
    """Implements `forms.scoring.ScoringForm`."""

    prepared: AnswerPrepared

    def score(
        self, seed: SeedContext, voters: AnswerVoters | PoolVoters | GivenAnswers, part: str, truth: Truth | None
    ) -> Scored:
        rows, truths = self._questions(seed, part, truth)
        if isinstance(voters, GivenAnswers):
            return Scored(right_texts(self.prepared, voters.texts[part], truths), {})
        right = self._right(seed, voters, rows, truths)
        if isinstance(voters, PoolVoters) or not voters.keys:
            return Scored(right, {})
        answers = voters.role.answers(rows, truths, self.prepared.names_of(rows))
        scores = Scorer(self.prepared, seed.store).scores(voters, answers, torch.arange(len(rows)))
        figures = {
            "log_loss": -float(scores.gold[-1].double().mean()),
            "token_error": float(scores.wrong[-1].double().mean()),
        }
        return Scored(right, figures)

    def _right(
        self, seed: SeedContext, voters: AnswerVoters | PoolVoters, rows: Int[Tensor, " rows"], truths: Sequence[str]
    ) -> Bool[Tensor, " rows"]:
        """Which of these questions they answer truly together."""
        prepared = self.prepared
        if isinstance(voters, PoolVoters):
            return pool_right(prepared, seed, voters, rows, truths).together[-1]
        # An untrained model does not know where to end: its answer is written out and compared as text, as worked
        # solutions are.
        if prepared.config.task.needs_decoding or (not voters.is_trained and not prepared.by_choice):
            return right_texts(prepared, written_texts(prepared, seed, voters, rows)[0], truths)
        return Scorer(prepared, seed.store).right(voters, rows, truths).together[-1]

    def asked(
        self, seed: SeedContext, voters: AnswerVoters | PoolVoters | GivenAnswers, rows: Int[Tensor, " rows"]
    ) -> AnswerVoters | PoolVoters | GivenAnswers:
        if isinstance(voters, GivenAnswers):
            return replace(voters, texts=voters.again(self.prepared, seed))
        if isinstance(voters, PoolVoters):
            return replace(voters, experts=tuple(each.reading(self.prepared) for each in voters.experts))
        return voters.reading(self.prepared)

    def hard_answers(self, voters: Any) -> None:
        return None  # answers in words are no classes

    def hard_right(self, seed: SeedContext, voters: AnswerVoters, truth: Truth) -> Bool[Tensor, " hard"]:
        return self._right(seed, voters, seed.draw.hard_unlabelled, [str(text) for text in truth])

    def growth(self, seed: SeedContext, ensemble: Ensemble, part: str, truth: Truth | None) -> Growth:
        rows, truths = self._questions(seed, part, truth)
        voters = AnswerExperts(self.prepared).all_voters(ensemble)
        if isinstance(voters, PoolVoters):
            right = pool_right(self.prepared, seed, voters, rows, truths)
        else:
            right = Scorer(self.prepared, seed.store).right(voters, rows, truths)
        return Growth(right.member, right.together, float((~right.member).all(0).double().mean()))

    def test_cost(self, seed: SeedContext, ensemble: Ensemble, truths: Mapping[str, Truth]) -> Cost:
        """Each expert scores the true answers of the tests once, or writes as much; each trunk reads them once."""
        parts = list[Cost]()
        for part, truth in truths.items():
            rows, texts = self._questions(seed, part, truth)
            for member in sorted({expert.member for expert in ensemble.experts}):
                role = self.prepared.pool[member]
                answers = role.answers(rows, texts, self.prepared.names_of(rows))
                n_tokens, n_answer = tokens_of(answers, torch.arange(len(rows)))
                n_trunks = max(1, sum(e.view.context is not None for e in ensemble.experts))
                scored = {"tokens": n_tokens, "examples": len(rows), "answer_tokens": n_answer}
                parts.append(trunk_cost(role, n_trunks * n_tokens))
                parts += [
                    evaluation_cost(role, owned=evaluated_by(role, expert.state), **scored)
                    for expert in ensemble.experts
                    if expert.member == member
                ]
            # Whoever was not trained writes them out, too: see `_right`.
            voters = AnswerExperts(self.prepared).ensemble_voters(seed, ensemble)
            if isinstance(voters, AnswerVoters) and not voters.is_trained and not self.prepared.by_choice:
                n_read = sum(len(voters.role.prompts[row]) for row in rows.tolist())
                n_written = written_texts(self.prepared, seed, voters, rows)[1]
                parts.append(answering_cost(voters, len(rows), n_read, n_written))
        return costs.total(parts)

    def signals(
        self, seed: SeedContext, labels: Mapping[str, Any], ensemble: Ensemble, on_easy: AnswerVoters
    ) -> RoutingRecord:
        """The checker's probability of another answer than its own counts as 0."""
        given: PseudoAnswers = labels[ensemble.method]
        own: PseudoAnswers = labels[SELF]
        same = right_texts(self.prepared, own.texts, given.texts)
        # An ensemble that says nothing is not to be trusted, however surely it does.
        speaks = torch.tensor([bool(text.strip()) for text in given.texts]).float()
        return RoutingRecord(
            seed.seed,
            ensemble.method,
            tuple(given.record["ids"]),
            given.texts,
            tuple(tuple(label["members"]) for label in given.record["labels"]),
            own.texts,
            RoutingSignals(
                given.confidence.float() * speaks,
                given.agreement.float() * speaks,
                own.confidence.float() * same * speaks,
            ),
            None,
        )

    def right_labels(self, answers: Sequence[str], truth: Truth) -> Bool[Tensor, " items"]:
        return right_texts(self.prepared, answers, [str(text) for text in truth])

    def pseudo_labels(self, labels: Mapping[str, Any], truth: Truth) -> dict[str, PseudoLabels]:
        return {
            method: PseudoLabels(given.confidence, self.right_labels(given.texts, truth))
            for method, given in labels.items()
            if method != SELF
        }

    def restarts(self, labels: Mapping[str, Any], truth: Truth) -> dict[str, Restarted]:
        if self.prepared.config.generation.restart is None:
            return {}
        return {teacher: self._restarts(given, truth) for teacher, given in labels.items()}

    def _restarts(self, given: PseudoAnswers, truth: Truth) -> Restarted:
        assert given.samples is not None, "the configuration sees to it"
        by_number = [self.right_labels(texts, truth) for texts in zip(*given.samples.texts, strict=True)]
        return Restarted(self.right_labels(given.texts, truth), torch.stack(by_number).double().mean(0))

    def voters(
        self, seed: SeedContext, labels: Mapping[str, Any], ensemble: Ensemble, truth: Truth | None
    ) -> ScoredVoters | None:
        return None  # they vote for classes

    def best_of_n(
        self, seed: SeedContext, labels: Mapping[str, Any], judges: SeedJudges, truth: Truth
    ) -> dict[str, list[SamplesRight]]:
        if not self.prepared.config.generation.samples:
            return {}
        prompts = [self.prepared.split.examples[row].prompt for row in seed.draw.hard_unlabelled.tolist()]
        truths = [str(text) for text in truth]
        return {t: samples_right(self.prepared, prompts, said, judges, truths) for t, said in labels.items()}

    def samples(
        self, seed: SeedContext, labels: Mapping[str, Any], method: str, truth: Truth | None
    ) -> tuple[AnswerSample, ...]:
        """The first questions on which the members differ, then others."""
        given: PseudoAnswers = labels[method]
        records = given.record["labels"]
        right = None if truth is None else self.right_labels(given.texts, truth)
        order = sorted(range(len(records)), key=lambda i: (len(set(records[i]["members"])) == 1, i))
        return tuple(
            AnswerSample(
                question=self.prepared.split.examples[int(seed.draw.hard_unlabelled[i])].prompt,
                truth=None if truth is None else str(truth[i]),
                answer=given.texts[i],
                members=tuple(records[i]["members"]),
                is_right=None if right is None else bool(right[i]),
                tokens=tuple(records[i]["tokens"]),
                probabilities=tuple(float(torch.tensor(p).exp()) for p in records[i]["token_log_probs"]),
            )
            for i in order[:N_SAMPLES]
        )

    def token_weights(self, seed: SeedContext, ensembles: Mapping[str, Ensemble]) -> tuple[TokenWeights, ...]:
        """The kinds of token that gained most weight, round by round."""
        ensemble = ensembles.get(BOOSTING)
        if ensemble is None or self.prepared.config.generation.boost_unit != "token":
            return ()
        weak = AnswerExperts(self.prepared).trainer(seed, self.prepared.config.training_of_experts).weak
        kinds: Int[Tensor, " samples"] = weak.answers.targets[weak.tokens_of(weak.rows)]
        tokenizer = self.prepared.weak.backbone.tokenizer
        rounds = []
        for expert in ensemble.experts:
            n = int(kinds.max()) + 1
            share = torch.zeros(n, dtype=torch.float64).index_add_(0, kinds, expert.sample_weights)
            uniform = torch.bincount(kinds, minlength=n).double() / len(kinds)
            top = (share - uniform).argsort(descending=True, stable=True)[:N_TOKENS].tolist()
            tokens = tuple(
                TokenShare(token=str(tokenizer.decode([k])), share=float(share[k]), uniform=float(uniform[k]))
                for k in top
                if uniform[k] > 0
            )
            rounds.append(TokenWeights(seed=seed.seed, round=expert.round, tokens=tokens))
        return tuple(rounds)

    def _questions(self, seed: SeedContext, part: str, truth: Truth | None) -> tuple[Int[Tensor, " rows"], list[str]]:
        """Rows of a part, and their true answers."""
        rows = rows_of(self.prepared, seed)[part]
        if truth is None:
            return rows, [self.prepared.split.easy_answers[r] for r in rows.tolist()]
        return rows, [str(text) for text in truth]
