"""The command that serves a run's models over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from ensemw2s.cli.common import TrustOption, app, err, out, warn
from ensemw2s.screen import say


@app.command(epilog="Example:  ensemw2s serve runs/demo --port 8000")
def serve(
    run: Annotated[Path, typer.Argument(help="A finished run, or the folder of a student or an ensemble.")],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines ask.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.", min=0, max=65535)] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="ENSEMW2S_API_KEY",
            help="What clients must bring; better set in the environment, where nobody sees it.  [default: none]",
            show_default=False,
        ),
    ] = None,
    waiting: Annotated[int, typer.Option(help="Prompts that may wait; one more is refused (429).", min=1)] = 256,
    batch_rows: Annotated[int, typer.Option(help="Answers that are written together.", min=1)] = 32,
    batch_tokens: Annotated[int, typer.Option(help="Tokens that are read together.", min=1)] = 16384,
    timeout: Annotated[float, typer.Option(help="Seconds after which a request is given up.", min=0.001)] = 120.0,
    trusted: TrustOption = None,
) -> None:
    """Answer questions over HTTP, as OpenAI's interface does, with a run's student and ensemble."""
    from ensemw2s.services.serving.server import Address, serve
    from ensemw2s.services.serving.worker import Limits

    address = Address(host, port, api_key)
    if address.is_open:
        warn([f"whoever reaches {host} can ask: set a key with --api-key or ENSEMW2S_API_KEY"])

    def told(url: str, names: list[str]) -> None:
        say(out, f"Serving {' and '.join(names)} of {run}: {url}/v1")
        say(err, "Stop with Ctrl-C; answers under way are finished.")

    limits = Limits(waiting, batch_rows, batch_tokens)
    serve(run, address, limits, timeout=timeout, trusted=trusted, told=told)
