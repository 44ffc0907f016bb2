"""Errors raised on purpose. Each message is one paragraph: what is wrong, where, the value and the remedy."""

from ensemw2s.text import visible


class EnsemW2SError(Exception):
    """Base of every error that this package raises on purpose; the command line prints it without a traceback."""

    exit_code = 1

    def __str__(self) -> str:
        # Messages quote files, paths and settings, whose control characters a terminal must not obey.
        return visible(super().__str__())


class ConfigError(EnsemW2SError):
    """A setting is unknown, of the wrong type, out of range, or contradicts another."""

    exit_code = 2


class DataError(EnsemW2SError):
    """A data file or data set cannot be used."""

    exit_code = 3


class ModelError(EnsemW2SError):
    """A model cannot be found, loaded, cut, trained or exported."""

    exit_code = 4


class RunError(EnsemW2SError):
    """A run folder or the store cannot be used: locked, read-only, full, corrupt, or of another configuration."""

    exit_code = 5


class SealError(RunError):
    """Sealed labels were asked for by something other than the ceiling or the evaluation."""
