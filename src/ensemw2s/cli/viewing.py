"""The command that shows runs in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from ensemw2s.cli.common import app, err, out, warn
from ensemw2s.screen import say


@app.command(epilog="Example:  ensemw2s view runs --open")
def view(
    folder: Annotated[Path, typer.Argument(help="Folder of run folders, sweeps and leaderboards, or one of these.")],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines see.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.", min=0, max=65535)] = 8765,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show the runs and leaderboards of a folder in a browser, live while runs go on."""
    from ensemw2s.services.viewing.server import is_open, view

    if is_open(host):
        warn([f"whoever reaches {host} can see the runs of {folder}"])

    def told(url: str) -> None:
        say(out, f"The runs of {folder}: {url}")
        say(err, "Stop with Ctrl-C; runs go on without it.")
        if open_browser:
            import webbrowser

            webbrowser.open(url)

    view(folder, host, port, told=told)
