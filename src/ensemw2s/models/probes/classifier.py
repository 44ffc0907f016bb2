"""What a model that answers by class is tried on before any work, with the adapter that will be trained on it."""

import copy
import functools
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from transformers import AutoTokenizer

from ensemw2s.config import CacheConfig, ModelConfig
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapters import Adapter, build_adapter, head_of
from ensemw2s.models.anatomy import share
from ensemw2s.models.assembly import classified, classifier, merged, plain_again
from ensemw2s.models.folders import temporary_folder
from ensemw2s.models.load import Backbone
from ensemw2s.models.probes import PROBE_ERRORS, refuse, require, sample_texts
from ensemw2s.models.quiet import quiet
from ensemw2s.models.trunk import pool, pooled_features, run_model
