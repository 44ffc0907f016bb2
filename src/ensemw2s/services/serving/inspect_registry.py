"""Where inspect_ai finds the provider `ensemw2s`, by its entry point; it loads no models and no tensor library."""

from inspect_ai.model import ModelAPI, modelapi  # pyright: ignore[reportMissingImports]


@modelapi(name="ensemw2s")
def ensemw2s() -> type[ModelAPI]:
    """`inspect eval task.py --model ensemw2s/runs/demo`."""
    from ensemw2s.services.serving.inspect_provider import EnsemW2SAPI

    return EnsemW2SAPI
