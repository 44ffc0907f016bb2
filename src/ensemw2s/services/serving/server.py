"""Opening a socket, loading the models and serving until a signal comes."""

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ensemw2s.errors import ConfigError
from ensemw2s.export.opened import open_answerers
from ensemw2s.services.serving.worker import Limits

GRACE_S = 30
"""Seconds that answers under way have after a signal."""


@dataclass(frozen=True)
class Address:
    """Where the server listens, and who may ask."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    api_key: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether other machines can ask, without a key."""
        with contextlib.suppress(ValueError):
            return self.api_key is None and not ip_address(self.host).is_loopback
        return self.api_key is None and self.host != "localhost"


def serve(
    path: Path,
    address: Address,
    limits: Limits,
    *,
    timeout: float,
    trusted: str | None = None,
    told: Callable[[str, list[str]], None],
) -> None:
    """Serve what answers in a folder until the process is told to stop; then answers under way are finished.

    Args:
        path: a run, or the folder of a student or an ensemble.
        timeout: seconds after which a request is given up.
        trusted: repository whose own code may run (`export.opened`).
        told: called once it listens, with the address and the names of the models.

    Raises:
        ConfigError: the extra is not installed, or the address cannot be used.
        RunError, ModelError: as `export.opened.open_answerers`.
    """
    try:
        import uvicorn

        from ensemw2s.services.serving.app import make_app
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"serve: {error.name} is not installed; install it with: pip install 'ensemw2s[serve]'"
        ) from None
    with listening(address) as listener:
        models = open_answerers(path, trusted=trusted)
        app = make_app(models, limits, timeout=timeout, api_key=address.api_key)
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_S)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        listener.listen(128)  # from now on nobody is turned away
        told(f"http://{shown}:{port}", list(models))
        uvicorn.Server(settings).run(sockets=[listener])


@contextlib.contextmanager
def listening(address: Address):
    """A socket that nobody else has.

    Raises:
        ConfigError: there is none at this address.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"--host {address.host} --port {address.port}: cannot listen there ({reason}); choose another host, "
            "or another port (0 takes a free one)"
        ) from None
    with listener:
        yield listener
