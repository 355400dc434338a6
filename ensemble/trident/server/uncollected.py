"""What a death in the middle of a request leaves behind, since Triton 24.10 never lets go of such an instance."""

import os

from trident.server.state import SHARED_MEMORY

REGION_BYTES = 2**20  # of shared memory that each process has at least
MOST_DEAD = 64  # each holds some ten of the threads and processes that a container or a user may have


def reason_to_restart(dead: int, free_bytes: int) -> str | None:
    """Why tritonserver has to be started again; None if it has not.

    Args:
        dead: processes that have died and that tritonserver has not collected.
        free_bytes: of shared memory.
    """
    if dead * REGION_BYTES > free_bytes:
        held = dead * REGION_BYTES // 2**20
        return f"processes that died hold {held} MiB of shared memory ({SHARED_MEMORY}), more than is free"
    if dead > MOST_DEAD:
        return f"tritonserver keeps the threads of {dead} processes that died"
    return None


def free_shared_memory() -> int:
    """In bytes."""
    place = os.statvfs(SHARED_MEMORY)
    return place.f_bavail * place.f_frsize
