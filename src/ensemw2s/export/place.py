"""Where an exported student or ensemble lies: a folder of this machine, or a repository of the model hub."""

from pathlib import Path

from ensemw2s.errors import ModelError
from ensemw2s.models.loading.checkpoint import FILES, HUB_ID
from ensemw2s.models.loading.hub import download


def exported_folder(place: str | Path, trusted: str | None = None) -> tuple[Path, str | None]:
    """The folder, and what is trusted of it: OWNER/NAME that is no folder here is downloaded once.

    Nothing that is downloaded runs. What a folder holds is checked by whoever loads it.

    Args:
        place: a run folder, the folder of a student or an ensemble, or OWNER/NAME of one on the hub.
        trusted: repository whose own code may run; where it is `place`, the downloaded folder is trusted.

    Raises:
        ModelError: there is no such folder, and the hub gives no such repository.
    """
    name = str(place)
    if Path(place).exists() or name.count("/") != 1 or not HUB_ID.fullmatch(name):
        return Path(place), trusted
    try:
        folder = download(name, patterns=[*FILES, "*.py"])
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{name}: neither a folder here nor a repository that the hub gives ({reason}); check the path, or the "
            "name on the hub, the network and the token"
        ) from None
    return folder, str(folder) if trusted == name else trusted
