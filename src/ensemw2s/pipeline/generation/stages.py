"""The work of one seed of a generation experiment, stage by stage, each unit through the store."""

from collections.abc import Iterator

from ensemw2s.ensemble.methods import max_members
from ensemw2s.pipeline.generation.experts import train_experts
from ensemw2s.pipeline.generation.labels import label
from ensemw2s.pipeline.generation.students import AnswerTeaching
from ensemw2s.pipeline.generation.work import AnswerWork


class AnswerSeed(AnswerWork):
    """One seed's share of a generation run; the same interface as `stages.Seed`."""

    @property
    def n_units(self) -> tuple[int, int]:
        """Experts and students of this seed, at most: for the progress bars."""
        config = self.prepared.config
        return max_members(config.ensemble) + 1, len(config.students.pairs(config.ensemble.methods)) + 2

    def experts(self) -> Iterator[None]:
        """Train every method's ensemble and choose its size on easy-val; yields after each unit."""
        return train_experts(self)

    def label(self) -> Iterator[None]:
        """Let every ensemble answer the unlabelled questions; yields after each."""
        return label(self)

    def students(self) -> Iterator[None]:
        """Train every student of every teacher, the baselines and the ceiling; yields after each."""
        return AnswerTeaching(self).train()
