"""Child processes that have imported everything already: forked, so that a test pays for its work alone."""

import contextlib
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from accelerate import PartialState

from ensemw2s import cli


def in_processes(n: int, work: Callable[[int], int | None]) -> list[int]:
    """Do `work(number)` in so many forked processes. Returns their exit codes: what `work` returns, else 0."""
    children = []
    for number in range(n):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = work(number) or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        children.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


def in_launch(n: int, work: Callable[[], int | None], *, sharded: bool = False) -> list[int]:
    """Do `work()` in the processes of one launch, as `torchrun --nproc-per-node n` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def member(number: int) -> int | None:
        place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in place.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_FSDP": str(sharded)}
        PartialState._reset_state()
        return work()

    return in_processes(n, member)


def command(arguments: list[object], folder: Path) -> int:
    """Call the command line; what it says is added to the files `stdout` and `stderr` of `folder`."""
    sys.argv = ["ensemw2s", *map(str, arguments)]
    folder.mkdir(exist_ok=True)
    with (
        (folder / "stdout").open("a") as out,
        (folder / "stderr").open("a") as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0
