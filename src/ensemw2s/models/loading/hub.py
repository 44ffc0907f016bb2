"""Files of a repository on the model hub, or of the local cache where the hub does not answer within seconds."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import CachedRepoInfo, model_info, scan_cache_dir, snapshot_download
from huggingface_hub.errors import (
    CacheNotFound,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]  (of its HTTP client)
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

TIMEOUT = 3.0
"""Seconds to wait for the hub, so that a machine without a route to it does not keep its user waiting."""


def downloaded() -> list[str]:
    """Ids of the models with weights in the hub's local cache, the smaller first."""
    try:
        repositories = scan_cache_dir().repos
    except (CacheNotFound, OSError):
        return []
    models = [each for each in repositories if each.repo_type == "model" and _has_weights(each)]
    return [each.repo_id for each in sorted(models, key=lambda each: each.size_on_disk)]


def _has_weights(repository: CachedRepoInfo) -> bool:
    names = {file.file_name for revision in repository.revisions for file in revision.files}
    return "config.json" in names and any(name.endswith(".safetensors") for name in names)


def check_offered(hub_id: str, *, revision: str | None = None) -> bool:
    """Whether the hub answers, and so has the repository with weights that are read.

    Raises:
        OSError: it has no such repository or revision, does not give it to this user, or has no safetensors of it.
        ValueError: the id is malformed.
    """
    try:
        files = model_info(hub_id, revision=revision, timeout=TIMEOUT).siblings or []
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise OSError(str(error)) from error
    except (HTTPError, OSError):
        return False
    if not any(file.rfilename.endswith(".safetensors") for file in files):
        raise OSError(f"{hub_id} has no safetensors")
    return True


def download(hub_id: str, *, patterns: Sequence[str], revision: str | None = None) -> Path:
    """The local folder with the files of the repository that match `patterns`.

    Raises:
        OSError: there is no such repository or revision, or neither the hub nor the cache gives its weights.
        ValueError: the id is malformed.
    """
    try:
        # The download itself has no time limit for a hub that is reached but does not answer.
        model_info(hub_id, revision=revision, timeout=TIMEOUT)
        answers = True
    except (HTTPError, OSError):
        answers = False
    try:
        folder = Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=list(patterns),
                etag_timeout=TIMEOUT,
                local_files_only=not answers,
            )
        )
    except HTTPError as error:
        raise OSError(str(error)) from error
    if not answers and not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(f"the hub does not answer and its local cache has no weights of {hub_id}")
    return folder
