"""How students are trained on weak labels: loss, label model and selection by name, each with its options."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ensemw2s.config.base import Count, Fraction, Frozen
from ensemw2s.config.evaluation import AugmentConfig
from ensemw2s.config.pieces import Options, make_piece, shown
from ensemw2s.config.preference import Preference
from ensemw2s.tables import LABEL_MODELS, LOSSES, SELECTIONS, Table

if TYPE_CHECKING:
    from ensemw2s.core.labels import LabelModel
    from ensemw2s.core.losses import WeakToStrongLoss
    from ensemw2s.core.selection import Selection

Teacher = str
"""`self`, or the name of an ensemble method of the run."""

PIECES: dict[str, tuple[Table[type[Any]], str, str]] = {
    "loss": (LOSSES, "xent", "options"),
    "label_model": (LABEL_MODELS, "vote", "label_model_options"),
    "selection": (SELECTIONS, "all", "selection_options"),
}
"""Setting of a recipe that names a piece, with its table, its default and the setting of its options."""


class Recipe(Frozen):
    """One way to train a student on a set of weak labels.

    Pseudo-answers in words are learned under xent, and only pieces that can decide among texts have a part.
    """

    younger: ClassVar[tuple[str, ...]] = ("then", "soft_share")

    loss: str = "xent"
    """A name in the table of losses: xent, product, logconf, entropy, smoothing, adaptive, window, group,
    evidential."""
    options: Options = Field(default_factory=dict)
    """Of the loss: its page says which there are."""
    label_model: str = "vote"
    """Who decides among the members: vote (the ensemble's own), majority, alpha, dawid-skene, glws, raven,
    co-supervised, next-round, judged."""
    label_model_options: Options = Field(default_factory=dict)
    selection: str = "all"
    """Which labels are learned: all, confidence, agreement, consistent, neighbours, top-rho,
    self-knowledge."""
    selection_options: Options = Field(default_factory=dict)
    labels: Literal["soft", "hard"] = "soft"
    """`soft` learns the ensemble's distribution: over the classes; or in words, where weak and strong model share a
    tokenizer, over each token of its answer, as `soft_share` says."""
    soft_share: Fraction = 0.1
    """Answers in words: how much of a soft label is the ensemble's mixture at each token; the rest is the token that it
    wrote."""
    with_easy: bool = False
    """Train on the labelled easy examples too."""
    outside_votes: bool = True
    """Whether the task's outside voters (`task.votes`, `task.raters_per_item`) have a part in the labels; false is the
    models' own labels, beside which one sees what the voters are worth."""
    easy_weight: Annotated[float, Field(gt=0)] = 1.0
    """with_easy: how much an easy example counts against a pseudo-labelled one; the mean over all stays 1."""
    weigh_by: Literal["none", "confidence"] = "none"
    """`confidence` weighs each pseudo-label by its probability under the ensemble, mean 1; true labels count 1."""
    curriculum: Literal["none", "confidence", "difficulty"] = "none"
    """From easy to hard: the most confident labels first (true ones are certain), or the least difficult examples."""
    curriculum_start: Annotated[float, Field(gt=0, le=1)] = 0.3
    """The share of the samples, easiest first, that a curriculum begins with."""
    curriculum_ramp: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The fraction of training at which all samples are in."""
    teachers: tuple[Teacher, ...] = ()
    """Whose labels are learned: `self` (the strong model that learned the easy labels) and methods of the run; empty
    means all of them."""
    then: Preference | None = None
    """Answers in words: what is learned after the labels, from pairs of a better and a worse answer."""

    @model_validator(mode="after")
    def _pieces_known(self) -> "Recipe":
        for setting in PIECES:
            self._check_piece(setting)
        # The default loss is known to need none, and is not loaded for that.
        if self.loss != "xent" and self.label_model != "vote" and LOSSES[self.loss].needs_members:
            raise ValueError(
                f"label_model ({self.label_model}) has no part with loss: {self.loss}, which learns each member's own "
                "label; leave it out"
            )
        if self.easy_weight != 1.0 and not self.with_easy:
            raise ValueError(f"easy_weight ({self.easy_weight:g}) weighs easy examples; set with_easy: true")
        if self.labels == "hard" and self.soft_options:
            raise ValueError(f"soft_share ({self.soft_share:g}) has no part in labels: hard; set labels: soft")
        if self.curriculum == "none" and self.pace:
            raise ValueError(
                f"curriculum_{min(self.pace)} has no part without a curriculum; set curriculum: confidence or "
                "difficulty"
            )
        return self

    def _check_piece(self, setting: str) -> None:
        """Raises ValueError where there is no such piece, or it refuses its options.

        A built-in piece without options is not loaded, which would load a tensor library: its defaults are valid.
        """
        table, _, option_setting = PIECES[setting]
        name = getattr(self, setting)
        if name not in table:
            raise ValueError(f"{setting}: there is no {name!r}; choose one of {', '.join(table)}")
        if getattr(self, option_setting) or not table.is_built_in(name):
            self._made(setting)

    def _made(self, setting: str) -> Any:
        table, _, option_setting = PIECES[setting]
        name = getattr(self, setting)
        return make_piece(table[name], name, option_setting, getattr(self, option_setting))

    def make_loss(self) -> "WeakToStrongLoss":
        """The loss with its options."""
        return self._made("loss")

    @property
    def has_optimum(self) -> bool:
        """Whether a linear head has one under it: the loss is convex, and all samples are learned at once."""
        return self.curriculum == "none" and bool(getattr(self.make_loss(), "is_convex", False))

    def make_label_model(self) -> "LabelModel":
        """The label model with its options."""
        return self._made("label_model")

    @property
    def reads_judges(self) -> bool:
        """Whether judges have a part in it."""
        return self.labels_read_judges or (self.then is not None and self.then.reads_judges)

    @property
    def labels_read_judges(self) -> bool:
        """Whether its label model asks them. The default one asks none, and is not loaded for that."""
        return self.label_model != "vote" and getattr(LABEL_MODELS[self.label_model], "reads_judges", False)

    def make_selection(self) -> "Selection":
        """The selection with its options."""
        return self._made("selection")

    def check_generation(self) -> None:
        """Raises ValueError where a piece cannot be used for answers in text."""
        for setting, (table, default, _) in PIECES.items():
            name = getattr(self, setting)
            if name != default and not table[name].for_generation:  # every default can
                fit = ", ".join(n for n, kind in table.items() if kind.for_generation)
                raise ValueError(
                    f"students.recipes: {setting} {name} is for classes; answers in words are learned with {fit}"
                )

    @property
    def learns_mixtures(self) -> bool:
        """Of answers in words: whether more is learned of them than their text."""
        return self.labels == "soft" and self.soft_share > 0

    def check_classes(self) -> None:
        """Raises ValueError where something is for answers in text."""
        if self.then is not None:
            raise ValueError(
                f"students.recipes: {self.name} has a second lesson (then), which is for answers in words; between "
                "classes a loss is a preference already, so leave it out"
            )
        if self.soft_options:
            raise ValueError(
                f"students.recipes: soft_share ({self.soft_share:g}) is for answers in words; a soft label of classes "
                "is learned as it is, so leave it out"
            )

    @property
    def soft_options(self) -> Options:
        """How much of a soft label is soft, where that is not the default."""
        return {} if self.soft_share == type(self).model_fields["soft_share"].default else {"share": self.soft_share}

    @property
    def pace(self) -> Options:
        """What of the curriculum's pace is not the default."""
        pace = {"start": self.curriculum_start, "ramp": self.curriculum_ramp}
        default = {name: type(self).model_fields[f"curriculum_{name}"].default for name in pace}
        return {name: value for name, value in pace.items() if value != default[name]}

    @property
    def name(self) -> str:
        parts = [shown(self.loss, self.options), shown(self.labels, self.soft_options)]
        parts += [shown(self.label_model, self.label_model_options)] if self.label_model != "vote" else []
        parts += [shown(self.selection, self.selection_options)] if self.selection != "all" else []
        parts += [] if self.outside_votes else ["models-alone"]
        parts += ["weighed"] if self.weigh_by == "confidence" else []
        if self.curriculum != "none":
            parts.append(shown("curriculum", {"by": self.curriculum} | self.pace))
        parts += [self.then.name] if self.then is not None else []
        weight: Options = {"weight": self.easy_weight} if self.easy_weight != 1.0 else {}
        return "-".join(parts) + ("+" + shown("easy", weight) if self.with_easy else "")


class StudentConfig(Frozen):
    younger: ClassVar[tuple[str, ...]] = ("in_context", "augment")

    method: Literal["recipes", "auto"] = "recipes"
    """`auto` adds a row that is, seed by seed, the student that did best on harder easy data, and recommends it."""
    recipes: Annotated[tuple[Recipe, ...], Field(min_length=1)] = (
        Recipe(),
        Recipe(with_easy=True),
        Recipe(loss="logconf"),
        Recipe(labels="hard"),
    )
    """The first one makes the headline comparison; each is trained from every teacher, or from its own `teachers`."""
    people: str | None = None
    """File of people's answers (.jsonl or .csv with id and answer, as `ensemw2s queue --merge` keeps them): they take
    the place of the weak labels of these items, for every teacher."""

    in_context: Count | None = None
    """Classes: how many unlabelled examples with a method's weak labels the untrained strong model reads before each
    question; a row for each method. Its answers are calibrated as `ensemble.context.calibrate` says."""
    augment: AugmentConfig | None = None
    """Also train the strong model on the easy examples and the hardest of their perturbed copies: a baseline of its
    own."""

    def pairs(self, methods: Sequence[str]) -> list[tuple[Teacher, Recipe]]:
        """Every student of a run, as its teacher and its recipe, teacher by teacher."""
        everyone: tuple[Teacher, ...] = ("self", *methods)
        return [(t, r) for t in everyone for r in self.recipes if t in (r.teachers or everyone)]
