"""Named pieces that settings choose among: the package's own, and those of installed packages.

A table knows its names without loading a piece, so reading a configuration costs no import of a tensor library.
Another package adds a piece by an entry point of the table's group:

    [project.entry-points."ensemw2s.losses"]
    focal = "my_package:Focal"
"""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from ensemw2s.errors import ConfigError

Piece = TypeVar("Piece")


class Table(MutableMapping[str, Piece], Generic[Piece]):
    """Name to piece. A piece is loaded when it is first asked for; iterating over names loads none.

    Args:
        group: of entry points, such as `ensemw2s.losses`.
        built_in: name to `module:attribute`.
    """

    def __init__(self, group: str, built_in: Mapping[str, str]):
        self.group = group
        self._places: dict[str, str] = dict(built_in)
        self._loaded: dict[str, Piece] = {}
        self._installed: dict[str, EntryPoint] | None = None

    def __getitem__(self, name: str) -> Piece:
        """The piece of that name.

        Raises:
            KeyError: there is none.
            ConfigError: an installed package names one that cannot be loaded.
        """
        if name not in self._loaded:
            if name in self._places:
                module, _, attribute = self._places[name].partition(":")
                self._loaded[name] = getattr(import_module(module), attribute)
            else:
                self._loaded[name] = self._from_package(self._others()[name])
        return self._loaded[name]

    def __setitem__(self, name: str, piece: Piece) -> None:
        """Add a piece for this process alone."""
        self._loaded[name] = piece

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._places, *self._others(), *self._loaded]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._loaded or name in self._places or name in self._others()

    def is_built_in(self, name: str) -> bool:
        """Whether the package itself brings the piece of that name."""
        return name in self._places

    def _others(self) -> dict[str, EntryPoint]:
        """Entry points of installed packages; the package's own names cannot be taken."""
        if self._installed is None:
            found = {point.name: point for point in entry_points(group=self.group)}
            if taken := sorted(set(found) & set(self._places)):
                raise ConfigError(
                    f"{self.group}: the installed package {_package(found[taken[0]])} names {taken[0]!r}, which "
                    "ensemw2s has itself; rename its entry point, or uninstall it"
                )
            self._installed = found
        return self._installed

    def _from_package(self, point: EntryPoint) -> Any:
        try:
            return point.load()
        except Exception as error:  # code of others: whatever it raises, the user must know whose it is
            raise ConfigError(
                f"{self.group}: {point.name!r} of the installed package {_package(point)} cannot be loaded "
                f"({type(error).__name__}: {error}); mend or uninstall that package"
            ) from error


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


_LOSS, _LABELS, _SELECTION = "ensemw2s.core.losses", "ensemw2s.core.labels", "ensemw2s.core.selection"
LOSSES: Table[type[Any]] = Table(
    "ensemw2s.losses",
    {
        "xent": f"{_LOSS}.targets:CrossEntropy",
        "product": f"{_LOSS}.targets:Product",
        "logconf": f"{_LOSS}.targets:LogConf",
        "entropy": f"{_LOSS}.targets:Entropy",
        "smoothing": f"{_LOSS}.targets:Smoothing",
        "adaptive": f"{_LOSS}.weights:Adaptive",
        "window": f"{_LOSS}.weights:Window",
        "group": f"{_LOSS}.weights:Group",
        "evidential": f"{_LOSS}.evidential:Evidential",
    },
)
"""Student losses (`core.losses.base.WeakToStrongLoss`)."""
LABEL_MODELS: Table[type[Any]] = Table(
    "ensemw2s.label_models",
    {
        "vote": f"{_LABELS}.votes:Vote",
        "majority": f"{_LABELS}.votes:Majority",
        "alpha": f"{_LABELS}.votes:Alpha",
        "dawid-skene": f"{_LABELS}.confusion:DawidSkene",
        "glws": f"{_LABELS}.confusion:Glws",
        "raven": f"{_LABELS}.students:Raven",
        "co-supervised": f"{_LABELS}.students:CoSupervised",
        "next-round": f"{_LABELS}.students:NextRound",
    },
)
"""Label models (`core.labels.base.LabelModel`)."""
SELECTIONS: Table[type[Any]] = Table(
    "ensemw2s.selections",
    {
        "all": f"{_SELECTION}.scores:All",
        "confidence": f"{_SELECTION}.scores:Confidence",
        "agreement": f"{_SELECTION}.scores:Agreement",
        "consistent": f"{_SELECTION}.scores:Consistent",
        "neighbours": f"{_SELECTION}.scores:Neighbours",
        "top-rho": f"{_SELECTION}.scores:TopRho",
        "self-knowledge": f"{_SELECTION}.knowledge:SelfKnowledge",
    },
)
"""Selections (`core.selection.base.Selection`)."""
_PREFERENCE = "ensemw2s.core.preferences"
PAIRINGS: Table[type[Any]] = Table(
    "ensemw2s.pairings",
    {"majority": f"{_PREFERENCE}.pairings:ByMajority", "tree": f"{_PREFERENCE}.pairings:ByTree"},
)
"""Where pairs of a better and a worse answer come from (`core.preferences.pairings.Pairing`)."""
PREFERENCE_LOSSES: Table[type[Any]] = Table(
    "ensemw2s.preference_losses",
    {
        "dpo": f"{_PREFERENCE}.losses:Dpo",
        "ipo": f"{_PREFERENCE}.losses:Ipo",
        "orpo": f"{_PREFERENCE}.losses:Orpo",
        "sft": f"{_PREFERENCE}.losses:OnlyChosen",
    },
)
"""Losses on such pairs (`core.preferences.losses.PreferenceLoss`)."""
_METHOD = "ensemw2s.ensemble.methods.built_in"
METHODS: Table[type[Any]] = Table(
    "ensemw2s.methods",
    {
        "single": f"{_METHOD}:Single",
        "independent": f"{_METHOD}:Independent",
        "bagging": f"{_METHOD}:Bagging",
        "boosting": f"{_METHOD}:Boosting",
        "subspace": f"{_METHOD}:Subspace",
        "layers": f"{_METHOD}:Layers",
        "contexts": f"{_METHOD}:Contexts",
        "prompted": f"{_METHOD}:Prompted",
    },
)
"""Ensemble methods (`ensemble.methods.base.EnsembleMethod`)."""
_MERGE = "ensemw2s.core.merging"
MERGES: Table[type[Any]] = Table(
    "ensemw2s.merges",
    {
        "linear": f"{_MERGE}:Linear",
        "ties": f"{_MERGE}:Ties",
        "dare": f"{_MERGE}:Dare",
    },
)
"""Merges of experts into one model (`core.merging.Merge`)."""
_TASK = "ensemw2s.data.tasks"
TASKS: Table[type[Any]] = Table(
    "ensemw2s.tasks",
    {
        "geo-facts": f"{_TASK}.geo_facts:GeoFacts",
        "geo-countries": f"{_TASK}.geo_countries:GeoCountries",
        "geo-records": f"{_TASK}.geo_records:GeoRecords",
        "sentiment": f"{_TASK}.sentiment:Sentiment",
        "arc": f"{_TASK}.arc:Arc",
        "arc-qa": f"{_TASK}.arc_qa:ArcQa",
        "openbookqa": f"{_TASK}.openbookqa:OpenBookQa",
        "gsm8k": f"{_TASK}.gsm8k:Gsm8k",
        "svamp": f"{_TASK}.svamp:Svamp",
        "reasoning": f"{_TASK}.reasoning:Reasoning",
        "digits": f"{_TASK}.digits:Digits",
        "files": f"{_TASK}.files:Files",
    },
)
"""Tasks (`config.TaskSettings`)."""
