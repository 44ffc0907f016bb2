"""Self-knowledge: the strong model's own label replaces the weak label where it is more likely to be right.

A small classifier is trained on labelled easy examples that the strong model was not trained on. From the strong
model's pooled features and its confidence it predicts whether its answer is right. On a hard example that probability
is compared with the confidence of the weak label. Both are probabilities of being right, learned on easy data.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ensemw2s.core.labels.base import Labelled
from ensemw2s.core.selection.base import Evidence


@dataclass(frozen=True)
class SelfKnowledge:
    """The strong model's own label or the weak one, whichever is more likely to be right."""

    for_generation: ClassVar[bool] = False
    reads_own: ClassVar[bool] = True
    regularisation: float = 0.01
    """C of the logistic regression, above 0; smaller regularises more."""

    def __post_init__(self) -> None:
        if self.regularisation <= 0:
            raise ValueError(f"self-knowledge: regularisation is {self.regularisation}; give a number above 0")

    def __call__(self, labelled: Labelled, evidence: Evidence) -> Labelled:
        trust = self.trust(evidence)
        use_own = trust > labelled.soft.amax(-1)
        return Labelled(torch.where(use_own[:, None], evidence.own, labelled.soft).float(), labelled.keep | use_own)

    def trust(self, evidence: Evidence) -> Float[Tensor, " items"]:
        """Probability that the strong model's own answer is right; its accuracy where it is always or never right."""
        right = evidence.trusted_own.argmax(-1) == evidence.trusted_labels
        if len(right.unique()) < 2:
            return torch.full((len(evidence.own),), float(right.double().mean()))
        model = make_pipeline(StandardScaler(), LogisticRegression(C=self.regularisation, max_iter=1000))
        features, trusted = evidence.features()
        model.fit(_classifier_inputs(trusted, evidence.trusted_own).numpy(), right.numpy())
        probability = model.predict_proba(_classifier_inputs(features, evidence.own).numpy())[:, 1]
        return torch.from_numpy(probability).float()


def _classifier_inputs(
    features: Float[Tensor, "items dim"], own: Float[Tensor, "items classes"]
) -> Float[Tensor, "items dim_and_one"]:
    """Inputs of the classifier: the pooled features and the confidence of the strong model."""
    return torch.cat([features.float(), own.float().amax(-1, keepdim=True)], dim=1)
