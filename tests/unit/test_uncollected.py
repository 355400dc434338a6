"""When tritonserver is started again for what dead processes hold."""

from trident.server.uncollected import MOST_DEAD, REGION_BYTES, reason_to_restart

PLENTY = 1000 * REGION_BYTES


def test_nothing_is_said_while_there_is_room() -> None:
    assert reason_to_restart(0, 0) is None
    assert reason_to_restart(5, 5 * REGION_BYTES) is None
    assert reason_to_restart(MOST_DEAD, PLENTY) is None


def test_dead_processes_may_not_hold_more_than_is_free() -> None:
    said = reason_to_restart(6, 5 * REGION_BYTES)
    assert said == "processes that died hold 6 MiB of shared memory (/dev/shm), more than is free"


def test_there_may_not_be_too_many_however_much_is_free() -> None:
    assert str(reason_to_restart(MOST_DEAD + 1, PLENTY)).startswith(
        f"tritonserver keeps the threads of {MOST_DEAD + 1} processes "
    )
