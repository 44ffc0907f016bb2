"""The few routes of the model hub that pushing and loading use, on this machine; each repository is a folder."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = ".safetensors"
"""Kept as large files, like the hub's."""


@dataclass
class LocalHub:
    root: Path
    token: str = "hf_secret"
    url: str = ""
    refusals: dict[str, int] = field(default_factory=dict)
    """Part of a path to the status that it is refused with."""
    private: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=list)
    """Repository of each commit, in order."""
    received: list[str] = field(default_factory=list)
    """sha256 of each large file that was sent."""

    def repository(self, name: str, kind: str = "models") -> Path:
        return self.root / kind / name

    def files(self, folder: Path) -> dict[str, Path]:
        paths = (p for p in sorted(folder.rglob("*")) if p.is_file())
        return {p.relative_to(folder).as_posix(): p for p in paths}

    def entry(self, name: str, path: Path) -> dict[str, Any]:
        content = path.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, Any] = {"rfilename": name, "path": name, "type": "file", "size": len(content), "blobId": git}
        if name.endswith(LARGE):
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"sha256": sha256, "oid": sha256, "size": len(content), "pointerSize": 100}
        return entry | {"oid": git}

    def head(self, folder: Path) -> str:
        """Name of its last commit: it changes with every one."""
        return hashlib.sha1(f"{folder} {len(self.commits)}".encode()).hexdigest()

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Any]:
        """Status and content; bytes are a file."""
        for part, status in self.refusals.items():
            if part in path:
                return status, {"error": "refused"}
        writes = method in ("POST", "PUT") and not path.startswith("/lfs/")
        if writes and token != f"Bearer {self.token}":
            return 401, {"error": "Invalid credentials in Authorization header"}
        match [unquote(part) for part in path.strip("/").split("/")]:
            case ["api", "repos", "create"]:
                wanted = json.loads(body)
                name = f"{wanted['organization']}/{wanted['name']}"
                folder = self.repository(name, f"{wanted.get('type', 'model')}s")
                status = 409 if folder.exists() else 200
                if status == 200:
                    folder.mkdir(parents=True)
                    (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
                    self.private |= {name} if wanted.get("visibility") == "private" else set()
                return status, {"url": f"{self.url}/{name}"}
            case ["api", "validate-yaml"]:
                return 200, {"errors": [], "warnings": []}
            case ["lfs", sha256]:
                (self.root / sha256).write_bytes(body)
                self.received.append(sha256)
                return 200, {}
            case [_, repository, "info", "lfs", "objects", "batch"] if repository.endswith(".git"):
                upload = lambda sha256: {"actions": {"upload": {"href": f"{self.url}/lfs/{sha256}"}}}  # noqa: E731
                wanted = json.loads(body)["objects"]
                return 200, {"objects": [o | ({} if self.has(o["oid"]) else upload(o["oid"])) for o in wanted]}
            case ["api", kind, owner, name, *rest]:
                return self.about(kind, f"{owner}/{name}", rest, body)
            case [owner, name, "resolve", _, *rest]:
                file = self.repository(f"{owner}/{name}") / "/".join(rest)
                return (200, file) if file.is_file() else (404, {"error": "no such file"})
        return 404, {"error": "no such route"}

    def has(self, sha256: str) -> bool:
        return (self.root / sha256).exists()

    def about(self, kind: str, name: str, rest: list[str], body: bytes) -> tuple[int, Any]:
        folder = self.repository(name, kind)
        if not folder.is_dir():
            return 404, {"error": "Repository not found"}
        entries = [self.entry(*each) for each in self.files(folder).items()]
        match rest:
            case [] | ["revision", _]:
                is_private = name in self.private
                return 200, {"id": name, "sha": self.head(folder), "private": is_private, "siblings": entries}
            case ["tree", *_]:
                return 200, entries
            case ["preupload", _]:
                large = lambda path: "lfs" if path.endswith(LARGE) else "regular"  # noqa: E731
                paths = [file["path"] for file in json.loads(body)["files"]]
                return 200, {"files": [{"path": p, "uploadMode": large(p), "shouldIgnore": False} for p in paths]}
            case ["commit", _]:
                for line in map(json.loads, body.splitlines()):
                    value = line["value"]
                    if line["key"] == "header" and value.get("parentCommit") not in (None, self.head(folder)):
                        return 412, {"error": "the repository has changed"}
                    if line["key"] == "file":
                        (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
                    elif line["key"] == "lfsFile":
                        (folder / value["path"]).write_bytes((self.root / value["oid"]).read_bytes())
                    elif line["key"] == "deletedFile":
                        (folder / value["path"]).unlink()
                self.commits.append(name)
                return 200, {"commitUrl": f"{self.url}/{name}/commit/x", "commitOid": self.head(folder)}
        return 404, {"error": "no such route"}


@contextmanager
def local_hub(root: Path) -> Iterator[LocalHub]:
    """A hub that listens at `url`."""
    hub = LocalHub(root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size + 2)[:-2]
                self.rfile.readline()
            path = urlsplit(self.path).path
            status, content = hub.answer(self.command, path, body, self.headers.get("Authorization", ""))
            sent = content.read_bytes() if isinstance(content, Path) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            if isinstance(content, Path):
                self.send_header("ETag", hashlib.sha1(sent).hexdigest())
                self.send_header("X-Repo-Commit", path.split("/")[4])
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(sent)

        do_GET = do_POST = do_PUT = do_HEAD = _handle

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
