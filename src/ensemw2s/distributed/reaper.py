"""Ends the processes named on its command line when its standard input closes, that is when its parent has ended.

A separate program with few imports. Without it some of Ray's processes outlive their driver by half a minute.
"""

import os
import signal
import sys


def main() -> None:
    files: list[int] = []
    for pid in sys.argv[1:]:
        try:
            files.append(os.pidfd_open(int(pid)))  # unlike a process id, a pidfd cannot come to mean another process
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
