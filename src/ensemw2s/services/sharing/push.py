"""Pushing to the hub: everything in one commit, or nothing; the same call again finishes an interrupted one."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]  (of its HTTP client)
    OfflineModeIsEnabled,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import validate_repo_id

from ensemw2s.errors import ConfigError, EnsemW2SError
from ensemw2s.hashing import file_sha256
from ensemw2s.services.sharing.parcel import Parcel

ATTRIBUTES = ".gitattributes"
"""The hub's own file in every repository."""
SHOWN = 3
"""Files that a refusal names."""


def check_name(to: str) -> None:
    """Raises ConfigError where `to` is no OWNER/NAME that the hub allows."""
    try:
        validate_repo_id(to)
    except HFValidationError as error:
        raise ConfigError(f"--to {to}: {' '.join(str(error).split())}") from None
    if "/" not in to:
        raise ConfigError(f"--to {to}: whose it is to be is missing; give OWNER/NAME, a user's or an organisation's")


def token_of(variable: str | None) -> str:
    """The token in an environment variable; without one, that of HF_TOKEN or of `hf auth login`.

    Raises:
        ConfigError: there is none.
    """
    token = get_token() if variable is None else os.environ.get(variable, "").strip()
    if not token:
        where = "HF_TOKEN is not set and nobody is logged in" if variable is None else f"{variable} is not set"
        raise ConfigError(
            f"no token for the hub: {where}; make one that may write at https://huggingface.co/settings/tokens and "
            f"set {variable or 'HF_TOKEN'} to it, or use: hf auth login"
        )
    return token


def push(parcel: Parcel, to: str, api: HfApi, *, private: bool = False, replace: bool = False) -> str:
    """Make a repository's content these files, in one commit. Returns its address.

    An interrupted call leaves a repository that is empty, or as it was. What the hub has received by then it keeps, so
    that the same call goes on from there; where all is there already, nothing is done.

    Args:
        api: of the hub, with the token.
        private: nobody else sees a repository that is made now.
        replace: take the place of other files that are in the repository.

    Raises:
        ConfigError: the hub refuses the token, the name or the files, or the name is taken.
        EnsemW2SError: the hub is not reached.
    """
    check_name(to)
    with _explained(to, api):
        url = api.create_repo(to, repo_type=parcel.kind, private=private or None, exist_ok=True)
        info = (api.dataset_info if parcel.kind == "dataset" else api.model_info)(to, files_metadata=True)
    if private and not info.private:
        raise ConfigError(f"--to {to}: this repository is there already and public; make it private on the hub first")
    there = {each.rfilename: each for each in info.siblings or () if each.rfilename != ATTRIBUTES}
    changed = [n for n in parcel.files if n not in there or not _is_same(parcel.folder / n, there[n])]
    stale = sorted(there.keys() - set(parcel.files))
    if not changed and not stale:
        return str(url)
    if there and not replace:
        names = ", ".join(sorted(there)[:SHOWN]) + (", ..." if len(there) > SHOWN else "")
        raise ConfigError(f"--to {to}: this name is taken, with other files ({names}); give another, or --replace them")
    operations = [CommitOperationAdd(name, parcel.folder / name) for name in changed]
    with _explained(to, api):
        api.create_commit(
            to,
            [*operations, *(CommitOperationDelete(name) for name in stale)],
            commit_message=f"Push {parcel.what.rpartition(' of ')[0]} by EnsemW2S",
            repo_type=parcel.kind,
            parent_commit=info.sha,
        )
    return str(url)


def _is_same(path: Path, there: RepoSibling) -> bool:
    """Whether the hub's file has the content of ours: it knows large files by their sha256, small ones as git does."""
    if there.lfs is not None:
        return there.lfs.sha256 == file_sha256(path)
    if there.size != path.stat().st_size:
        return False
    content = path.read_bytes()
    return there.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@contextmanager
def _explained(to: str, api: HfApi) -> Iterator[None]:
    """Turn the hub's refusals into one sentence each."""
    try:
        yield
    except OfflineModeIsEnabled:
        raise ConfigError(f"--to {to}: HF_HUB_OFFLINE is set, so nothing is pushed; unset it") from None
    except HfHubHTTPError as error:
        raise _refusal(to, error) from error
    except RuntimeError as error:  # of a file's upload; the cause says why
        if isinstance(error.__cause__, HfHubHTTPError):
            raise _refusal(to, error.__cause__) from error
        raise _unreached(to, api, error.__cause__ or error) from error
    except ValueError as error:
        raise ConfigError(f"--to {to}: the hub does not take these files ({_line(error)})") from error
    except (HTTPError, OSError) as error:
        raise _unreached(to, api, error) from error


def _refusal(to: str, error: HfHubHTTPError) -> EnsemW2SError:
    code = error.response.status_code
    reasons = {
        401: "the hub does not know this token; make one that may write at https://huggingface.co/settings/tokens",
        403: f"this token may not write to {to}; check the owner's name and what the token may do",
        404: f"the hub knows no {to} that this token may see; check the owner's name and what the token may do",
        409: "the name is being made or changed by somebody else; run the same command again",
        412: "the repository changed meanwhile; run the same command again",
    }
    if code >= 500 or code == 429:
        return EnsemW2SError(f"--to {to}: the hub cannot take it now ({code}); run the same command again later")
    reason = reasons.get(code, f"the hub refuses ({_line(error)})")
    return ConfigError(f"--to {to}: {reason}" + (f" ({code})" if code in reasons else ""))


def _unreached(to: str, api: HfApi, error: BaseException) -> EnsemW2SError:
    return EnsemW2SError(
        f"--to {to}: {api.endpoint} is not reached ({type(error).__name__}: {_line(error)}); check the network and run "
        "the same command again: what the hub has received it keeps"
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
