"""What of the trunk each member reads, by method: everything, random dimensions, or a depth of its own.

subspace  a random share of the pooled feature's dimensions (random subspaces, Ho 1998)
layers    the pooled feature after a number of layers that is dealt to each member
"""

from collections.abc import Callable

from ensemw2s.config import EnsembleConfig
from ensemw2s.core.sampling import dealt
from ensemw2s.core.seeds import stream_seed
from ensemw2s.names import Method
from ensemw2s.records import WHOLE, View


def _subspace(config: EnsembleConfig, n_layers: int, seed: int, position: int) -> View:
    return View(feature_share=config.feature_share)


def _layers(config: EnsembleConfig, n_layers: int, seed: int, position: int) -> View:
    # Dealt, not drawn: draws with replacement would give two members one depth while another depth has none. In no
    # order, because the first t members of every t are to be as unlike as they can: t is chosen on easy-val.
    depths = config.depths(n_layers)
    depth = depths[dealt(len(depths), position, stream_seed(seed, "layers"))]
    return View(depth=None if depth == n_layers else depth)


VIEWS: dict[Method, Callable[[EnsembleConfig, int, int, int], View]] = {"subspace": _subspace, "layers": _layers}
"""Methods whose members read less than everything, from the configuration, the weak model's layers, the run's seed and
the member's round. Such members are drawn and initialised as those of `independent`: the view is all that differs, so
the two can be compared in pairs, and a view of everything gives the same expert."""


def view_of(method: Method, config: EnsembleConfig, n_layers: int, seed: int, position: int) -> View:
    """What the member of this round reads."""
    return VIEWS[method](config, n_layers, seed, position) if method in VIEWS else WHOLE


def depths_of(config: EnsembleConfig, n_layers: int, seeds: tuple[int, ...]) -> set[int]:
    """Every depth that some member of these seeds reads, beside the weak model's own."""
    found = {
        view_of(method, config, n_layers, seed, position).depth
        for method in config.methods
        for seed in seeds
        for position in range(config.n_rounds)
    }
    return {depth for depth in found if depth is not None}
