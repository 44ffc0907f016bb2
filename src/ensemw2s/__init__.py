"""EnsemW2S: boosted ensembles of weak models that supervise a stronger one (arXiv 2410.04571, Findings of ACL 2026).

from pathlib import Path
from ensemw2s import ExperimentConfig, run

results = run(ExperimentConfig(), Path("runs/geo-facts"))
print(results.recommendation.headline)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemw2s.config import ExperimentConfig, load_config
    from ensemw2s.errors import ConfigError, DataError, EnsemW2SError, ModelError, RunError, SealError
    from ensemw2s.estimators.classifier import EnsemW2SClassifier
    from ensemw2s.estimators.student import Student
    from ensemw2s.estimators.weak_ensemble import WeakEnsemble
    from ensemw2s.export.classifier import Predictor, load_student
    from ensemw2s.pipeline.run import run
    from ensemw2s.results import Results

    __version__: str

__all__ = [
    "ConfigError",
    "DataError",
    "EnsemW2SClassifier",
    "EnsemW2SError",
    "ExperimentConfig",
    "ModelError",
    "Predictor",
    "Results",
    "RunError",
    "SealError",
    "Student",
    "WeakEnsemble",
    "load_config",
    "load_student",
    "run",
]

_MODULES = {
    "ConfigError": "errors",
    "DataError": "errors",
    "EnsemW2SClassifier": "estimators.classifier",
    "EnsemW2SError": "errors",
    "ExperimentConfig": "config",
    "ModelError": "errors",
    "Predictor": "export.classifier",
    "Results": "results",
    "RunError": "errors",
    "SealError": "errors",
    "Student": "estimators.student",
    "WeakEnsemble": "estimators.weak_ensemble",
    "load_config": "config",
    "load_student": "export.classifier",
    "run": "pipeline.run",
}
"""Module of each public name. It is imported when the name is first used: the libraries behind some take seconds."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ensemw2s")
    if name not in _MODULES:
        raise AttributeError(f"module 'ensemw2s' has no attribute {name!r}")
    value = getattr(import_module(f"ensemw2s.{_MODULES[name]}"), name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
