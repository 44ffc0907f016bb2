"""Source archives from the package index, known by their hash. Nothing of them is run; pip would run their build."""

import html
import json
import os
import re
import subprocess
import sys
import urllib.request
from urllib.parse import unquote, urljoin, urlsplit

from ensemw2s.errors import DataError
from ensemw2s.hashing import sha256_of

JSON = "application/vnd.pypi.simple.v1+json"
TIMEOUT = 60.0
"""Seconds without an answer of the index."""


def source_archive(project: str, file_name: str, *, n_bytes: int, sha256: str) -> bytes:
    """The archive of that name, from the index that pip is set to use.

    Raises:
        DataError: the index has no such file or does not answer, or the file is not the one of this hash.
    """
    index = _index_url()
    page = urljoin(index.rstrip("/") + "/", f"{project.lower()}/")
    try:
        address = _address(page, file_name)
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
            content = answer.read(n_bytes + 1)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file_name}: the package index does not give it ({type(error).__name__}: {str(error)[:200]}); check the "
            "network, or name an index that has it in PIP_INDEX_URL"
        ) from None
    if len(content) != n_bytes or (digest := sha256_of(content)) != sha256:
        found = f"{len(content)} bytes" if len(content) != n_bytes else f"sha256 {digest}"
        raise DataError(f"{file_name}: {found}, not the expected file; it was changed or cut, and is not used")
    return content


def _address(page: str, file_name: str) -> str:
    """Where the index keeps a file. Raises DataError where its page does not name it."""
    request = urllib.request.Request(page, headers={"Accept": f"{JSON}, text/html;q=0.1"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        text = answer.read().decode("utf-8")
        if answer.headers.get("Content-Type", "").startswith(JSON):
            links = [str(file["url"]) for file in json.loads(text)["files"]]
        else:
            links = [html.unescape(link) for link in re.findall(r'href="([^"#]+)', text)]
    for link in links:
        if unquote(urlsplit(link).path).rpartition("/")[2].lower() == file_name.lower():
            return urljoin(page, link)
    raise DataError(f"{file_name}: {urlsplit(page).hostname} has no such file; name another index in PIP_INDEX_URL")


def _index_url() -> str:
    """What PIP_INDEX_URL or pip's settings say, else pip's default."""
    if given := os.environ.get("PIP_INDEX_URL"):
        return given
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout.strip():
        return done.stdout.strip()
    try:
        from pip._internal.models.index import PyPI
    except ImportError:
        raise DataError("the package index is not known, because pip is not installed; set PIP_INDEX_URL") from None
    return PyPI.simple_url
