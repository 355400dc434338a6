"""Becomes another program, which gets a SIGTERM when the process that started this one ends, however it does.

`python tied.py PARENT PROGRAM ARGUMENT ...`; PARENT is the process that starts it. What subprocess calls `preexec_fn`
would need no program of its own, but it makes a fork, whose handlers may wait for ever in a process that uses gRPC.
"""

import ctypes
import os
import signal
import sys

# Source: Linux prctl(2), include/uapi/linux/prctl.h.
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Returns only if the parent has ended already."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == int(parent):
        os.execv(command[0], command)


if __name__ == "__main__":
    main()
