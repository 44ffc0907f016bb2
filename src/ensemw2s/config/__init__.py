"""Every setting with its meaning and its check, one module per section; the tree is read from YAML."""

from ensemw2s.config.deliver import DeliverConfig
from ensemw2s.config.ensemble import EnsembleConfig
from ensemw2s.config.evaluation import AugmentConfig, EvaluationConfig
from ensemw2s.config.experiment import ExperimentConfig
from ensemw2s.config.generation import DecodingConfig, DecodingSettings, GenerationConfig, RestartConfig
from ensemw2s.config.judge import JudgeConfig
from ensemw2s.config.load import load_config, parse_config
from ensemw2s.config.model import CacheConfig, ModelConfig
from ensemw2s.config.preference import Preference
from ensemw2s.config.recipe import Recipe, StudentConfig
from ensemw2s.config.task import DifficultyConfig, SplitConfig, TaskSettings
from ensemw2s.config.training import TrainConfig
from ensemw2s.hashing import canonical_hash

__all__ = [
    "AugmentConfig",
    "CacheConfig",
    "DecodingConfig",
    "DecodingSettings",
    "DeliverConfig",
    "DifficultyConfig",
    "EnsembleConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "GenerationConfig",
    "JudgeConfig",
    "ModelConfig",
    "Preference",
    "Recipe",
    "RestartConfig",
    "SplitConfig",
    "StudentConfig",
    "TaskSettings",
    "TrainConfig",
    "canonical_hash",
    "load_config",
    "parse_config",
]
