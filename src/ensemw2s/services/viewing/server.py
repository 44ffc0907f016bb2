"""The viewer's web server: it reads, for whoever may read, and knows no path but those that it found."""

import contextlib
import re
import socket
import socketserver
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from ensemw2s.errors import ConfigError
from ensemw2s.report.viewer import comparison_part, overview_tables, viewer_page
from ensemw2s.services.viewing.overview import Folder
from ensemw2s.storage.files import check_path

OWN = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'"
"""What the viewer's page may load: what the viewer says."""
FOREIGN = (
    "sandbox allow-scripts allow-downloads allow-popups; default-src 'none'; "
    "script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"
)
"""What a run's page may: its charts draw, and nothing in it speaks to the viewer or to anybody else."""


def view(folder: Path, host: str, port: int, *, told: Callable[[str], None]) -> None:
    """Show the runs of a folder until the process is told to stop.

    Args:
        port: 0 takes a free one.
        told: called with the address once it listens.

    Raises:
        ConfigError: there is no such folder, or the address cannot be used.
    """
    with make_server(folder, host, port) as server:
        told(server.url)
        server.serve_forever()


def is_open(host: str) -> bool:
    """Whether other machines can ask at this address."""
    with contextlib.suppress(ValueError):
        return not ip_address(host).is_loopback
    return host != "localhost"


def make_server(folder: Path, host: str, port: int) -> "ViewServer":
    """A server that listens and does not answer yet. Raises as `view`."""
    check_path(folder, "view")
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give the one that holds run folders, such as runs")
    try:
        return ViewServer(Folder(folder.resolve()), host, port)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"--host {host} --port {port}: cannot listen there ({reason}); choose another host, or another port (0 "
            "takes a free one)"
        ) from None


class ViewServer(ThreadingHTTPServer):
    """Answers in threads, of which none keeps the process."""

    daemon_threads = True

    def __init__(self, folder: Folder, host: str, port: int):
        self.folder, self.host = folder, host
        self.address_family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        super().__init__((str(place[0]), port), ViewHandler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTP's own would ask the network for this machine's name

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/"

    def knows(self, host: str | None) -> bool:
        """Whether a request was meant for this server.

        A page of another site can have its own name lead here, and would then read what we answer; a number, and the
        name that we were given, cannot be another site's.
        """
        found = re.fullmatch(r"\[([^][]+)\](?::\d+)?|([^][:@]+)(?::\d+)?", host or "")
        name = (found[1] or found[2]).lower() if found else ""
        with contextlib.suppress(ValueError):
            ip_address(name)
            return True
        return name in ("localhost", self.host.lower())


class ViewHandler(BaseHTTPRequestHandler):
    """GET and HEAD of the viewer's page, its parts, and the pages of runs and leaderboards."""

    server: ViewServer
    timeout = 30
    server_version, sys_version = "ensemw2s", ""

    def do_GET(self) -> None:
        """Answer."""
        if not self.server.knows(self.headers.get("Host")):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "this server was not asked for by its own name")
            return
        path, query = urlsplit(self.path).path, urlsplit(self.path).query
        folder = self.server.folder
        if path == "/":
            self._send(viewer_page(folder.overview()).encode(), OWN)
        elif path == "/tables":
            self._send(overview_tables(folder.overview()).encode(), OWN)
        elif path == "/comparison":
            wanted = parse_qs(query, keep_blank_values=True).get("run", [])
            self._send(comparison_part(folder.comparison(wanted)).encode(), OWN)
        elif (page := self._page(path)) is not None:
            self._send(page, FOREIGN)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def _page(self, path: str) -> bytes | None:
        _, slash, rest = path.partition("/pages/")
        name, _, file = unquote(rest).rpartition("/")
        return self.server.folder.page(name, file) if slash and path.startswith("/pages/") else None

    def _send(self, content: bytes, policy: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", f"{policy}; base-uri 'none'; frame-ancestors 'self'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):  # a browser that has gone on
                self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a page asks every other second."""
