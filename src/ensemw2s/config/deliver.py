"""Settings of what a user leaves with."""

from ensemw2s.config.base import Frozen


class DeliverConfig(Frozen):
    refit: bool = False
    """Train the exported student once more, on every labelled example there is: the whole easy pool and the ID test.
    Nothing is chosen again. The figures of the run remain those of the student before that, and what no figure
    describes costs a training more: so it is off unless asked for."""
