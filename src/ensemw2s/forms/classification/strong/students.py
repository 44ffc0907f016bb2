"""Students that classify: what each learns, how it is trained, and what it says of every part."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import Recipe, canonical_hash
from ensemw2s.core.calibration import apply_temperature, fit_temperature
from ensemw2s.core.labels import Votes
from ensemw2s.core.losses import CrossEntropy, WeakToStrongLoss
from ensemw2s.core.seeds import stream
from ensemw2s.data.people import people_among
from ensemw2s.errors import ModelError
from ensemw2s.evaluation import costs
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.evaluation.scored import HARD, VAL
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.rivals import class_rivals
from ensemw2s.forms.classification.strong.ballot import ClassBallot
from ensemw2s.forms.classification.strong.in_context import InContext
from ensemw2s.forms.classification.strong.outside import SeedVoters
from ensemw2s.forms.classification.strong.training_set import ClassTrainingSet
from ensemw2s.forms.classification.weak.asked import student_says
from ensemw2s.forms.classification.weak.experts import ClassVoters
from ensemw2s.forms.costs import evaluation_cost, training_cost, trunk_cost, validation_cost
from ensemw2s.forms.prepared import Labels, SeedContext, Truth, rows_of
from ensemw2s.models.adapting.adapters import SCALE_ROWS, fit_scale, head_of, n_trainable, owned_state
from ensemw2s.models.adapting.merging import State, start_as_merge
from ensemw2s.results import Condition, Cost
from ensemw2s.results.conditions import SELF, ConditionKind, in_context
from ensemw2s.storage.store import Artifact
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.train.loop import predict, train
from ensemw2s.train.optimum import has_optimum
from ensemw2s.train.samples import Supervision, Validation, chosen_by
from ensemw2s.train.supervision import true_labels
from ensemw2s.training_end import TrainingEnd


@dataclass(frozen=True)
class ClassStudents:
    """Implements `forms.students.StudentForm`."""

    prepared: ClassPrepared

    def zero_shot(self, seed: SeedContext) -> tuple[ClassVoters, Cost] | None:
        role, rows = self.prepared.strong, rows_of(self.prepared, seed)
        try:
            log_probs = {part: role.zero_shot(self.prepared.task.choices, each) for part, each in rows.items()}
        except ModelError:
            return None  # the run's notes say why (`why_no_zero_shot`)
        n_tokens = sum(int(role.pooled.lengths[each].sum()) for each in rows.values())
        whole = (role.trunk_flops + role.own_flops) * n_tokens

        def ask(prepared: ClassPrepared, seed: SeedContext, rows: Int[Tensor, " rows"]) -> Tensor:
            return prepared.strong.zero_shot(prepared.task.choices, rows)

        return ClassVoters(log_probs, ask=ask), NOTHING.model_copy(update={"flops": whole})

    def rivals(self, seed: SeedContext) -> Mapping[Condition, tuple[ClassVoters, Cost]]:
        return class_rivals(self.prepared, seed)

    def in_context(self, seed: SeedContext, labels: Mapping[str, Any]) -> Mapping[Condition, tuple[ClassVoters, Cost]]:
        n = self.prepared.config.students.in_context
        if n is None:
            return {}
        shown = InContext(self.prepared, seed, n)
        return {in_context(method): shown.answers(said) for method, said in labels.items() if method != SELF}

    def on_easy(
        self, seed: SeedContext, known: Labels | None = None, *, more: Labels | None = None
    ) -> ClassTrainingSet:
        rows, labels = self.labels(seed, known)
        if more is not None:
            assert isinstance(more.truth, Tensor)
            rows, labels = torch.cat([rows, more.rows]), torch.cat([labels, more.truth])
        supervision = true_labels(rows, labels, self.prepared.n_classes)
        if known is not None:
            return self.training_set(supervision, CrossEntropy(), {}, None)
        parts = {HARD: seed.draw.hard_unlabelled} | rows_of(self.prepared, seed)
        return self.training_set(supervision, CrossEntropy(), parts, self.validation(seed))

    def on_truth(self, seed: SeedContext, truth: Truth) -> ClassTrainingSet:
        assert isinstance(truth, Tensor)
        supervision = true_labels(seed.draw.hard_unlabelled, truth, self.prepared.n_classes)
        return self.training_set(supervision, CrossEntropy(), rows_of(self.prepared, seed), self.validation(seed))

    def training_set(
        self,
        supervision: Supervision,
        loss: WeakToStrongLoss,
        parts: Mapping[str, Int[Tensor, " _"]],
        validation: Validation | None,
    ) -> ClassTrainingSet:
        """What a student learns, and whether it is fitted or takes steps."""
        training = self.prepared.config.training_of_students(has_optimum=has_optimum(loss, supervision))
        return ClassTrainingSet(training, supervision, loss, parts, validation)

    def labels(self, seed: SeedContext, known: Labels | None) -> tuple[Int[Tensor, " rows"], Int[Tensor, " rows"]]:
        """Rows and classes of `known`, or without that of the seed's easy training examples."""
        if known is None:
            return seed.draw.easy_train, self.prepared.split.easy_labels[seed.draw.easy_train]
        assert isinstance(known.truth, Tensor)
        return known.rows, known.truth

    def validation(self, seed: SeedContext) -> Validation:
        """Easy validation data, with their labels."""
        return Validation(seed.draw.easy_val, self.prepared.split.easy_labels[seed.draw.easy_val])

    def self_labels(self, seed: SeedContext, voters: ClassVoters) -> tuple[Votes, Cost]:
        votes, outside = self._own_votes(seed, voters), SeedVoters.of(self.prepared, seed)
        return votes if outside is None else outside.join(votes), NOTHING

    def _own_votes(self, seed: SeedContext, voters: ClassVoters) -> Votes:
        own, _ = self.checker_says(seed, voters)
        return Votes(own[None], torch.ones(1), own)

    def checker_says(
        self, seed: SeedContext, checker: ClassVoters
    ) -> tuple[Float[Tensor, "hard classes"], Float[Tensor, "val classes"]]:
        """Calibrated probabilities of the strong model that learned the easy labels, on hard examples and easy-val."""
        val = checker.log_probs[VAL]
        temperature = fit_temperature(val, self.prepared.split.easy_labels[seed.draw.easy_val])
        return apply_temperature(checker.log_probs[HARD], temperature).exp(), apply_temperature(val, temperature).exp()

    def people(self, seed: SeedContext) -> Int[Tensor, " hard"]:
        """Of each unlabelled example the class that a person gave, -1 where nobody did."""
        names = self.prepared.names_of(seed.draw.hard_unlabelled)
        index = {choice: k for k, choice in enumerate(self.prepared.task.choices)}
        classes = torch.full((len(names),), -1)
        for i, answer in people_among(self.prepared.people, names).items():
            classes[i] = index[answer]
        return classes

    def judges(self, seed: SeedContext, first: ClassVoters, on_easy: ClassVoters) -> None:
        return None  # refused with the settings

    def best_of_n(
        self, seed: SeedContext, voters: ClassVoters, judges: None
    ) -> dict[ConditionKind, tuple[ClassVoters, Cost]]:
        return {}  # refused with the settings

    def ballot(
        self,
        seed: SeedContext,
        labels: Mapping[str, Any],
        teacher: str,
        recipe: Recipe,
        on_easy: ClassVoters,
        judges: None,
    ) -> ClassBallot:
        said = labels[teacher]
        if teacher == SELF:
            votes = said if recipe.outside_votes else self._own_votes(seed, on_easy)
        else:
            said = said if recipe.outside_votes else said.models or said
            votes = Votes(said.member, said.expert_weights, said.soft, voted=said.voted)
        return ClassBallot(self, seed, votes, on_easy)

    def deciding(self, training_set: ClassTrainingSet) -> dict[str, Any]:
        supervision = training_set.supervision
        soft, member, group = supervision.targets
        return {
            "inputs": self.prepared.split.inputs_fingerprint,
            "rows": supervision.rows.tolist(),
            "targets": canonical_hash(soft.tolist()),
            "members": None if member is None else canonical_hash(member.tolist()),
            "groups": None if group is None else group.tolist(),
            "weights": canonical_hash(supervision.weights.tolist()),
            "pace": None if supervision.pace is None else canonical_hash(supervision.pace.deciding),
            "loss": [type(training_set.loss).__name__, asdict(training_set.loss)],  # pyright: ignore[reportArgumentType]
            "validation": chosen_by(training_set.validation, training_set.training),
            "evaluated": [rows.tolist() for rows in training_set.parts.values()],
            **({} if training_set.is_read is None else {"is_read": training_set.is_read.tolist()}),
        }

    def fit(
        self,
        training_set: ClassTrainingSet,
        *,
        seed: int,
        checkpointer: Checkpointer | None,
        start: Sequence[State] = (),
    ) -> Artifact:
        role, training = self.prepared.strong, training_set.training
        module = role.builder(training, self.prepared.n_classes)(stream(seed, "init"))
        fit_scale(module, role.inputs, training_set.supervision.rows[:SCALE_ROWS])
        if start:
            start_as_merge(module, start)
        if training_set.is_read is not None:
            head_of(module).settle(training_set.is_read)
        end = train(
            module,
            role.inputs,
            training_set.supervision,
            training_set.loss,
            training,
            seed=seed,
            validation=training_set.validation,
            checkpointer=checkpointer,
        )
        log_probs = torch.empty(0, self.prepared.n_classes)
        if training_set.parts:
            log_probs = predict(
                module,
                role.inputs,
                torch.cat(list(training_set.parts.values())),
                link=training_set.loss.link,
                batch_tokens=self.prepared.config.cache.batch_tokens,
            )
        tensors = {f"state/{name}": t for name, t in owned_state(module).items()}
        return Artifact(tensors | {"log_probs": log_probs}, {"owned": n_trainable(module)} | end.record)

    def voters(self, training_set: ClassTrainingSet, artifact: Artifact, key: str) -> ClassVoters:
        sizes = [len(rows) for rows in training_set.parts.values()]
        log_probs = dict(zip(training_set.parts, artifact.tensors["log_probs"].split(sizes), strict=True))
        state, link = artifact.state, training_set.loss.link
        return ClassVoters(log_probs, link, state, partial(student_says, state=state, key=key, link=link))

    def read_alike(self, training_set: ClassTrainingSet, voters: ClassVoters) -> ClassTrainingSet:
        scale = (voters.state or {}).get("scale")
        if scale is None or self.prepared.strong.trunk.n_blocks == 1:
            return training_set
        return replace(training_set, is_read=scale.isfinite())

    def cost(self, training_set: ClassTrainingSet, artifact: Artifact) -> Cost:
        role, training = self.prepared.strong, training_set.training
        rows, end = training_set.supervision.rows, TrainingEnd.of(artifact.record)
        n_tokens, owned = int(role.inputs.lengths[rows].sum()), artifact.record["owned"]
        tokens, examples = training.readings_of(end) * n_tokens, training.passes_of(end) * len(rows)
        parts = [trunk_cost(role, n_tokens), training_cost(role, owned=owned, tokens=tokens, examples=examples)]
        if end is not None and end.validations:
            assert training_set.validation is not None
            val, passes = training_set.validation.rows, end.validations
            n_val = int(role.inputs.lengths[val].sum())
            parts.append(trunk_cost(role, n_val))
            parts.append(validation_cost(role, owned=owned, passes=passes, tokens=n_val, examples=len(val)))
        return costs.total(parts)

    def losses(self, seed: SeedContext, voters: ClassVoters, known: Labels) -> tuple[Float[Tensor, " known"], Cost]:
        assert voters.ask is not None
        assert voters.state is not None
        assert isinstance(known.truth, Tensor)
        log_probs = voters.ask(self.prepared, seed, known.rows)
        role, n = self.prepared.strong, len(known.rows)
        n_tokens, owned = int(role.inputs.lengths[known.rows].sum()), sum(t.numel() for t in voters.state.values())
        spent = [trunk_cost(role, n_tokens), evaluation_cost(role, owned=owned, tokens=n_tokens, examples=n)]
        return -log_probs.gather(1, known.truth[:, None])[:, 0], costs.total(spent)

    def log_likelihood(self, seed: SeedContext, voters: ClassVoters) -> Float[Tensor, " val"]:
        labels = self.prepared.split.easy_labels[seed.draw.easy_val]
        return voters.log_probs[VAL].gather(1, labels[:, None])[:, 0]

    def why_no_zero_shot(self, seed: SeedContext) -> str | None:
        """Why there is no zero-shot condition; None where there is one."""
        try:
            self.prepared.strong.zero_shot(self.prepared.task.choices, seed.draw.easy_val[:1])
        except ModelError as error:
            return str(error)
        return None
