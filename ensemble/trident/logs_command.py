"""`trident logs`: the log of a server of this user, as it is or as JSON."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from io import FileIO
from pathlib import Path
from typing import Annotated

import typer
from trident_client.settings import without_secrets

from trident.addresses import running_here
from trident.errors import TridentError
from trident.log_lines import parsed, whole_lines
from trident.options import AsJson, HttpPort, OwnUrl
from trident.server.state import log_of, logged_ports, port_here, running_servers, server_at

FOLLOW_S = 0.25
BLOCK_BYTES = 2**16


def logs(
    http_port: HttpPort = None,
    url: OwnUrl = None,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, help="The last ones.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written, until Ctrl-C.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="S", min=0.001, help="Seconds to --follow.", show_default="without end"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the log of a server that runs, or ran, here.

    \b
    trident logs --follow
    trident logs -n 1000 | grep "Model 'spam'"
    trident logs --json | jq -r 'select(.level == "ERROR").message'

    The log of the last server that ran is kept for a week. --json prints an object a line, with time, level, pid,
    source and message; all are null but the message where a line is not Triton's.
    """  # noqa: D301 - click's mark for lines that stay as they are
    if timeout is not None and not follow:
        raise typer.BadParameter("it says how long to --follow; give both or neither", param_hint="--timeout")
    path = _find_log(http_port, url)
    blocks = _blocks(path, _tail(path, lines), follow, timeout)
    try:
        if as_json:
            for line in whole_lines(blocks):
                print(json.dumps(parsed(line, datetime.now(timezone.utc)), ensure_ascii=False), flush=True)
        else:
            for block in blocks:
                os.write(1, block)
    except KeyboardInterrupt:
        return


def _find_log(http_port: int | None, url: str | None) -> Path:
    if http_port is not None:
        path = log_of(http_port)
        if not path.is_file():
            raise TridentError(f"no log of a server on HTTP port {http_port}; there are those of {logged_ports()}")
        return path
    if url is not None:
        return _log_at(url)
    running = running_servers()
    if len(running) > 1:
        raise TridentError(f"{running_here()}; say which: trident logs --url URL")
    kept = [Path(state.log) for state in running]
    kept = kept or sorted(map(log_of, logged_ports()), key=lambda path: path.stat().st_mtime)
    if not kept:
        raise TridentError("no server has run here in the last week, so there is no log; `trident serve` starts one")
    return kept[-1]


def _log_at(url: str) -> Path:
    """The log of the server that runs, or ran last, at a URL."""
    state = server_at(url)
    if state is not None:
        return Path(state.log)
    port = port_here(url)
    if port is not None and log_of(port).is_file():
        return log_of(port)
    raise TridentError(
        f"{without_secrets(url)} is no server of yours on this machine, and a log is a file there; {running_here()}, "
        f"and logs are kept of those on the HTTP ports {logged_ports()}"
    )


def _tail(path: Path, lines: int) -> int:
    """Where the last lines of a file begin, in bytes."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        missing = lines + 1  # line feeds to be found; the last one ends the file
        while position > 0:
            start = max(0, position - BLOCK_BYTES)
            file.seek(start)
            block = file.read(position - start)
            while (at := block.rfind(b"\n")) >= 0:
                missing -= 1
                if missing == 0:
                    return start + at + 1
                block = block[:at]
            position = start
    return 0


def _blocks(path: Path, position: int, follow: bool, timeout_s: float | None) -> Iterator[bytes]:
    """What stands behind a position, and in the files that get the log's name afterwards."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    with ExitStack() as opened:
        file = opened.enter_context(path.open("rb", buffering=0))
        file.seek(position)
        while True:
            newer = _newer(path, file)  # looked for before the rest is read: then nothing more comes behind that
            if os.fstat(file.fileno()).st_size < file.tell():  # it was begun anew
                file.seek(0)
            if newer is not None:
                opened.enter_context(newer)
            while block := file.read(BLOCK_BYTES):
                yield block
            if newer is not None:
                file.close()
                file = newer
                continue
            left_s = FOLLOW_S if end is None else min(FOLLOW_S, end - time.monotonic())
            if not follow or left_s <= 0:
                return
            time.sleep(left_s)


def _newer(path: Path, file: FileIO) -> FileIO | None:
    """The file that has the log's name now, if the log was rotated; there is none for a moment meanwhile."""
    try:
        if not os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return path.open("rb", buffering=0)
    except FileNotFoundError:
        pass
    return None
