"""A student's second lesson, after its labels."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ensemw2s.config.base import Count, Frozen
from ensemw2s.config.pieces import Options, each_option, make_piece
from ensemw2s.tables import PAIRINGS, PREFERENCE_LOSSES, Table

if TYPE_CHECKING:
    from ensemw2s.core.preferences import Pairing, PreferenceLoss

_PIECES: dict[str, tuple[Table[type[Any]], str]] = {
    "pairs": (PAIRINGS, "pairs_options"),
    "loss": (PREFERENCE_LOSSES, "options"),
}


class Preference(Frozen):
    """A student's second lesson: which of two answers is better, by its own samples and the answer it learned."""

    younger: ClassVar[tuple[str, ...]] = ("denoise", "margin_scale")

    pairs: str = "majority"
    """Where pairs come from, a name in the table of pairings: majority, tree, judged."""
    pairs_options: Options = Field(default_factory=dict)
    loss: str = "dpo"
    """A name in the table of losses on pairs: dpo, ipo, orpo, and sft, which learns the better answers alone."""
    options: Options = Field(default_factory=dict)
    """Of the loss."""
    denoise: Literal["none", "judges"] = "none"
    """`judges` turn round, soften or add a margin to the pairs, as far as easy pairs show that they know better."""
    margin_scale: Annotated[float, Field(ge=0)] = 1.0
    """denoise: the loss's margin of a pair that judges prefer by one standard deviation."""
    n_samples: Annotated[int, Field(ge=2)] = 10
    """Answers that the student draws to each unlabelled question."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of these draws."""
    epochs: Count | None = None
    """Passes over the pairs, with `patience` the most; null takes those of `student_training`, as all other settings of
    the training but the learning rate."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Well below that of the first lesson, which would destroy what was learned."""

    @model_validator(mode="after")
    def _pieces_known(self) -> "Preference":
        for setting, (table, option_setting) in _PIECES.items():
            name = getattr(self, setting)
            if name not in table:
                raise ValueError(f"{setting}: there is no {name!r}; choose one of {', '.join(table)}")
            if getattr(self, option_setting) or not table.is_built_in(name):
                make_piece(table[name], name, option_setting, getattr(self, option_setting))
        if self.denoise == "none" and self.margin_scale != type(self).model_fields["margin_scale"].default:
            raise ValueError(f"margin_scale ({self.margin_scale:g}) has no part without denoise: judges; leave it out")
        return self

    @property
    def reads_judges(self) -> bool:
        """Whether judges have a part in it."""
        # The default pairing asks nobody, and is not loaded to know that.
        return self.denoise == "judges" or (
            self.pairs != "majority" and getattr(PAIRINGS[self.pairs], "reads_judges", False)
        )

    def make_pairing(self) -> "Pairing":
        """The pairing with its options."""
        return make_piece(PAIRINGS[self.pairs], self.pairs, "pairs_options", self.pairs_options)

    def make_loss(self) -> "PreferenceLoss":
        """The loss with its options."""
        return make_piece(PREFERENCE_LOSSES[self.loss], self.loss, "options", self.options)

    @property
    def settings(self) -> Options:
        """Whatever is not the default of how samples are drawn, and pairs denoised and learned."""
        fields = type(self).model_fields
        names = ("denoise", "margin_scale", "n_samples", "temperature", "epochs", "learning_rate")
        return {name: getattr(self, name) for name in names if getattr(self, name) != fields[name].default}

    @property
    def name(self) -> str:
        parts = [
            self.pairs,
            *each_option(self.pairs_options),
            self.loss,
            *each_option(self.options),
            *each_option(self.settings),
        ]
        return f"then[{','.join(parts)}]"
