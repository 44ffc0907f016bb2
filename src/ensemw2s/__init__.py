"""EnsemW2S: boosted ensembles of weak models that supervise a stronger one (arXiv 2410.04571, Findings of ACL 2026).

from pathlib import Path
from ensemw2s import ExperimentConfig, run

results = run(ExperimentConfig(), Path("runs/geo-facts"))
print(results.recommendation.headline)
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ensemw2s.config import ExperimentConfig, load_config
from ensemw2s.errors import ConfigError, DataError, EnsemW2SError, ModelError, RunError, SealError
from ensemw2s.results import Results

if TYPE_CHECKING:
    from ensemw2s.estimators.weak_ensemble import WeakEnsemble
    from ensemw2s.export.classifier import Predictor, load_student
    from ensemw2s.pipeline.run import run

__version__ = version("ensemw2s")
__all__ = [
    "ConfigError",
    "DataError",
    "EnsemW2SError",
    "ExperimentConfig",
    "ModelError",
    "Predictor",
    "Results",
    "RunError",
    "SealError",
    "WeakEnsemble",
    "load_config",
    "load_student",
    "run",
]

_LATE = {
    "WeakEnsemble": "ensemw2s.estimators.weak_ensemble",
    "run": "ensemw2s.pipeline.run",
    "Predictor": "ensemw2s.export.classifier",
    "load_student": "ensemw2s.export.classifier",
}


def __getattr__(name: str) -> Any:
    # The libraries behind these take seconds to import; `ensemw2s --help` and the configuration need none of them.
    if name in _LATE:
        from importlib import import_module

        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'ensemw2s' has no attribute {name!r}")
