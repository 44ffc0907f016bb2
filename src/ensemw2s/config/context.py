"""Settings of what a model reads before each question."""

from typing import Literal

from pydantic import model_validator

from ensemw2s.config.base import Count, Frozen


class ContextConfig(Frozen):
    """Of the ensemble methods `contexts` and `prompted`."""

    kind: Literal["demonstrations", "principles", "arguments", "knowledge"] = "demonstrations"
    """What stands before the question: labelled easy examples that nothing else of the run reads, another draw for each
    member; a sentence of the member's own; reasons for every class, in another order for each member; or a fact."""
    n: Count = 8
    """demonstrations: how many a member reads."""
    principles: tuple[str, ...] = ()
    """principles: the sentences, one for each member; an empty one reads the question alone."""
    written_by: Literal["strong", "weak"] = "strong"
    """arguments, knowledge: which pretrained model writes them, before any training."""
    calibrate: Literal["mean", "none"] = "mean"
    """prompted: take from each class's log-likelihood its mean over the easy training examples, and add the log of the
    class's share of them; `none` takes the likelihood as it is."""

    @model_validator(mode="after")
    def _used(self) -> "ContextConfig":
        if self.principles and self.kind != "principles":
            raise ValueError(f"principles have no part in kind: {self.kind}; leave them out, or set kind: principles")
        return self

    @property
    def deciding(self) -> dict[str, object]:
        """What decides the texts, beside whatever they are made of: for keys of the store."""
        used = {"demonstrations": {"n"}, "principles": {"principles"}}
        return self.model_dump(include={"kind"} | used.get(self.kind, {"written_by"}))
