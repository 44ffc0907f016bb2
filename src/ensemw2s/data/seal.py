"""True answers behind a seal that names its purposes."""

import json

from jaxtyping import Int
from torch import Tensor

from ensemw2s.errors import SealError
from ensemw2s.hashing import sha256_of

PURPOSES = ("ceiling", "evaluation")
REFIT = "refit"
"""A further purpose, of the ID test alone: the exported student's last training, once everything is measured."""
Answers = Int[Tensor, " examples"] | tuple[str, ...]
"""True answers of a part: classes, or texts where answers are generated."""


class SealedLabels:
    """True answers that only the ceiling and the evaluation may read, and those of the ID test also the refit.

    A guard against mistakes, not against malice: whoever wants the labels must say what for, and one word in the
    code shows it. Neither printing nor copying them shows a label.
    """

    __slots__ = ("__labels", "fingerprint", "part")

    def __init__(self, part: str, labels: Answers):
        self.part = part
        self.__labels = labels
        self.fingerprint = fingerprint(labels.tolist() if isinstance(labels, Tensor) else labels)
        """Changes with the labels; for cache keys."""

    def __len__(self) -> int:
        return len(self.__labels)

    def __repr__(self) -> str:
        return f"SealedLabels({self.part}, {len(self)} labels)"

    def __reduce__(self) -> str:
        raise SealError(f"the sealed labels of {self.part} are not to be copied or sent; open them where they are used")

    def open(self, purpose: str, rows: Int[Tensor, " rows"] | None = None) -> Answers:
        """The labels of the part, or of some of its examples by place.

        Raises:
            SealError: the purpose is neither `ceiling` nor `evaluation`, nor `refit` of the ID test.
        """
        if purpose not in PURPOSES and (purpose, self.part) != (REFIT, "id_test"):
            raise SealError(
                f"the true labels of {self.part} are sealed: {purpose!r} asked for them, and only "
                f"{' and '.join(PURPOSES)} may; choose settings on easy validation data"
            )
        labels = self.__labels
        if isinstance(labels, Tensor):
            return labels.clone() if rows is None else labels[rows]
        return labels if rows is None else tuple(labels[row] for row in rows.tolist())


def fingerprint(value: object) -> str:
    """SHA-256 of a value of lists, tuples, texts and numbers."""
    return sha256_of(json.dumps(value, ensure_ascii=False).encode())
