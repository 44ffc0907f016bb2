"""The work of one seed: experts, labels, students. Each unit goes through the store, so a resume redoes none."""

from collections.abc import Iterator

import torch

from ensemw2s.config import TrainConfig, canonical_hash
from ensemw2s.core.boosting import chance_error
from ensemw2s.core.metrics import accuracy
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Weak, fit_expert, grow, held_out_errors
from ensemw2s.ensemble.label import choose
from ensemw2s.ensemble.methods import Samples, make_method, max_members
from ensemw2s.ensemble.trunk_learner import TrunkLearner
from ensemw2s.forms.classification.side import zero_shot
from ensemw2s.models.adapters import n_used
from ensemw2s.names import SINGLE
from ensemw2s.pipeline import cost
from ensemw2s.pipeline.prepare import Prepared
from ensemw2s.pipeline.rows import BEST_SINGLE, SINGLE_LONG
from ensemw2s.pipeline.teach import Teaching
from ensemw2s.pipeline.work import Work
from ensemw2s.records import Expert
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, artifact_key

EXPERT_VERSION = 2
LABEL_VERSION = 1


class Seed(Work):
    """One seed's share of a run whose questions are answered by a class."""

    # --- experts -----------------------------------------------------------------------------------------------

    def experts(self) -> Iterator[None]:
        """Train every method's ensemble, round by round; yields after each unit."""
        prepared, config = self.prepared, self.prepared.config
        training = config.expert_training
        weak = self._weak(training)
        prior = self.prior_error()
        for method in config.ensemble.methods:
            state = EnsembleState.start(method, self.seed, len(weak.rows))
            while not state.finished:
                state = grow(state, self._fitted(weak, training, state), config.ensemble, prior)
                yield
            ensemble = choose(
                state.experts,
                config.ensemble,
                self.draw.easy_val,
                self.outcome.val_labels,
                seed=self.seed,
                prior_error=prior,
            )
            self.outcome.ensembles[method] = ensemble
            self.outcome.log_probs[method] = {p: ensemble.log_probs(r) for p, r in self.eval_rows.items()}
            self.outcome.cost[method] = self._ensemble_cost(state.experts)
            self.outcome.n_experts[method] = ensemble.selected
        yield from self._single_experts(weak, prepared)

    def _single_experts(self, weak: Weak, prepared: Prepared) -> Iterator[None]:
        """The best member by easy-val, and one expert that is given the whole ensemble's training budget."""
        config = prepared.config
        members = [e for ensemble in self.outcome.ensembles.values() for e in ensemble.experts]
        scores = [accuracy(e.log_probs[self.draw.easy_val], self.outcome.val_labels) for e in members]
        best = members[max(range(len(members)), key=scores.__getitem__)]
        # Choosing among them cost the training of them all.
        self._expert_row(BEST_SINGLE, best, cost.total(self.outcome.cost.values()))
        training = config.expert_training
        long = training.model_copy(update={"epochs": training.epochs * config.ensemble.n_rounds})
        state = EnsembleState.start(SINGLE, self.seed, len(weak.rows))
        fitted = self._fitted(self._weak(long), long, state)
        expert = grow(state, fitted, config.ensemble, self.prior_error()).experts[0]
        self._expert_row(SINGLE_LONG, expert, self._ensemble_cost((expert,), long))
        yield

    def _expert_row(self, key: str, expert: Expert, spent: Cost) -> None:
        self.outcome.log_probs[key] = {part: expert.log_probs[rows] for part, rows in self.eval_rows.items()}
        self.outcome.cost[key] = spent

    def _weak(self, training: TrainConfig) -> Weak:
        prepared, side = self.prepared, self.prepared.weak
        rows = self.draw.easy_train
        learner = TrunkLearner(side.inputs, side.builder(training, prepared.n_classes), training, side.at_depth)
        return Weak(
            learners=(learner,),
            X=torch.arange(len(side.inputs.lengths)),
            rows=rows,
            labels=self.labels[rows],
            # The split's own groups: they hold together what has like text, too.
            group_ids=[str(g) for g in prepared.split.groups[rows].tolist()],
            n_classes=prepared.n_classes,
            n_layers=side.backbone.n_layers,
            training_tokens=learner.training_tokens,
        )

    def prior_error(self) -> float:
        """The error of a reference that knows nothing of the task."""
        prior = self.prepared.config.ensemble.prior
        if prior == "chance":
            return chance_error(self.prepared.n_classes)
        if prior == "unigram":
            counts = torch.bincount(self.labels[self.draw.easy_train])
            return 1.0 - float(counts.max()) / len(self.draw.easy_train)
        if prior == "pretrained":
            rows = self.draw.easy_train
            error = 1.0 - accuracy(zero_shot(self.prepared.weak, self.prepared.task.choices, rows), self.labels[rows])
            return min(max(error, 1e-6), 1.0 - 1e-6)
        return prior

    def _fitted(self, weak: Weak, training: TrainConfig, state: EnsembleState) -> FittedExpert:
        """One expert, from the store or trained; the key holds all that decides it and nothing else."""
        ensemble = self.prepared.config.ensemble
        view = state.next_view(ensemble, weak.n_layers)
        draw = state.next_draw(ensemble, Samples(state.sample_weights, len(weak.rows)), state.next_stream)
        key = artifact_key(
            EXPERT_VERSION,
            {
                "data": self.prepared.fingerprint,
                "rows": weak.rows.tolist(),
                "weak": self.prepared.weak.fingerprint,
                "training": training.deciding,
                "stream": state.next_stream,
                "draw": canonical_hash([draw.rows.tolist(), draw.weights.tolist()]),
                "view": view.deciding,
            },
        )

        def compute() -> Artifact:
            fitted = fit_expert(weak, state, ensemble)
            tensors = {f"state/{name}": t for name, t in fitted.state.items()}
            tensors |= {"log_probs": fitted.log_probs, "is_wrong": fitted.is_wrong}
            return Artifact(tensors, {"training_tokens": fitted.training_tokens})

        found = self.memo("experts", key, compute)
        is_wrong, tokens = found.tensors["is_wrong"], found.record["training_tokens"]
        if ensemble.error_source == "folds" and make_method(state.method, ensemble).needs_errors:
            held_out = self._held_out(weak, state, key)
            is_wrong, tokens = held_out.tensors["is_wrong"], tokens + held_out.record["training_tokens"]
        owned = {n.removeprefix("state/"): t for n, t in found.tensors.items() if n.startswith("state/")}
        return FittedExpert(owned, found.tensors["log_probs"], is_wrong, tokens, view)

    def _held_out(self, weak: Weak, state: EnsembleState, expert: str) -> Artifact:
        """The expert's errors on folds that its counterparts did not see."""
        ensemble = self.prepared.config.ensemble
        weights = canonical_hash(state.sample_weights.tolist())
        deciding = {"expert": expert, "weights": weights, "folds": [ensemble.n_folds, list(weak.group_ids)]}

        def compute() -> Artifact:
            is_wrong, tokens = held_out_errors(weak, state, ensemble)
            return Artifact({"is_wrong": is_wrong}, {"training_tokens": tokens})

        return self.memo("errors", artifact_key(EXPERT_VERSION, deciding), compute)

    def _ensemble_cost(self, experts: tuple[Expert, ...], training: TrainConfig | None = None) -> Cost:
        side, split = self.prepared.weak, self.prepared.split
        epochs = (training or self.prepared.config.expert_training).epochs
        n_tokens = int(side.inputs.lengths.sum())
        parts = [cost.trunk_cost(side, n_tokens)]  # one pass gives every depth
        for e in experts:
            owned = n_used(e.state)
            parts.append(
                cost.training_cost(
                    side, owned=owned, tokens=e.training_tokens, examples=epochs * len(self.draw.easy_train)
                )
            )
            parts.append(cost.evaluation_cost(side, owned=owned, tokens=n_tokens, examples=len(split.examples)))
        return cost.total(parts)

    # --- labels ------------------------------------------------------------------------------------------------

    def label(self) -> Iterator[None]:
        """Let every ensemble label the hard examples; yields after each."""
        hard = self.draw.hard_unlabelled
        ids = [self.prepared.split.examples[i].id for i in hard.tolist()]
        for method, ensemble in self.outcome.ensembles.items():
            labels = ensemble.label(hard, ids)
            self.weak_labels[method] = labels
            record = {
                "ids": ids,
                "expert_ids": labels.expert_ids,
                "temperature": labels.temperature,
                "config_hash": canonical_hash(self.prepared.config),
            }
            tensors = {
                name: getattr(labels, name) for name in ("soft", "member", "confidence", "agreement", "expert_weights")
            }
            key = artifact_key(LABEL_VERSION, {"record": record, "soft": canonical_hash(labels.soft.tolist())})
            self.memo("labels", key, lambda t=tensors, r=record: Artifact(t, r))
            yield

    @property
    def n_units(self) -> tuple[int, int]:
        """Experts and students of this seed, at most: for the progress bars."""
        config = self.prepared.config
        return max_members(config.ensemble) + 1, len(config.students.pairs(config.ensemble.methods)) + 2

    def students(self) -> Iterator[None]:
        """Train every student of every teacher, the baselines and, where it can be, the ceiling; yields after each."""
        return Teaching(self).train()
