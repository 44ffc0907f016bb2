"""The command that pushes to the model hub."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ensemw2s.cli.common import app, err, out, warn
from ensemw2s.screen import say


class What(StrEnum):
    """What is pushed."""

    student = "student"
    ensemble = "ensemble"
    labels = "labels"


@app.command(epilog="Example:  ensemw2s push runs/demo --to me/demo-student --private")
def push(
    run: Annotated[
        Path,
        typer.Argument(help="A finished run, its student's or ensemble's folder, or one of `label --format dataset`."),
    ],
    to: Annotated[str, typer.Option(metavar="OWNER/NAME", help="On the hub; made where it is not there.")],
    what: Annotated[What, typer.Option(help="Labels become a data set, the others a model.")] = What.student,
    private: Annotated[bool, typer.Option("--private", help="Nobody else sees a repository that is made now.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of other files that are there.")] = False,
    token_env: Annotated[
        str | None,
        typer.Option(
            metavar="VARIABLE",
            help="Holds the token.  [default: HF_TOKEN, or the login of `hf auth login`]",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files and push nothing.")] = False,
) -> None:
    """Push a run's student or ensemble, or labels, to the model hub, in one commit."""
    from ensemw2s.services.labelling.dataset import dataset_files
    from ensemw2s.services.sharing.parcel import Parcel, ensemble_parcel, student_parcel
    from ensemw2s.services.sharing.push import check_name, push, token_of

    check_name(to)
    if what is What.labels:
        parcel = Parcel(f"the labels of {run}", run, dataset_files(run), "dataset")
    else:
        parcel = {What.student: student_parcel, What.ensemble: ensemble_parcel}[what](run)
    sizes = parcel.sizes
    seen = "private" if private else "public"
    say(
        out if dry_run else err,
        f"{parcel.what}: {len(sizes)} files, {_size(sum(sizes.values()))}, to the {seen} {parcel.kind} {to}",
    )
    warn(parcel.notes)
    if dry_run:
        for name, size in sizes.items():
            say(out, f"  {name}  {_size(size)}")
        return
    token = token_of(token_env)
    from huggingface_hub import HfApi

    url = push(parcel, to, HfApi(token=token), private=private, replace=replace)
    say(out, f"{parcel.what} is at {url}")


def _size(n_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} bytes"
