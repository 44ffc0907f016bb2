"""Ends the processes that are named on its command line when its standard input ends, however its parent ended.

A program of its own, without imports that take time: of Ray's helpers some outlive their driver by half a minute.
"""

import os
import signal
import sys


def main() -> None:
    files: list[int] = []
    for pid in sys.argv[1:]:
        try:
            files.append(os.pidfd_open(int(pid)))  # a number can be given to another process meanwhile, this cannot
        except ProcessLookupError:
            continue
    sys.stdin.buffer.read()
    for file in files:
        try:
            signal.pidfd_send_signal(file, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
