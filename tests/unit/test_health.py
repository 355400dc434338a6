"""The supervisor's endpoint."""

import json
import socket
import struct
import threading
import urllib.error
import urllib.request

import pytest
from patience import until
from trident.server.health import Health, read_health


@pytest.fixture
def port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


def test_it_says_what_is_wrong_until_it_is_mended(port: int) -> None:
    health = Health()
    health.serve(port)
    assert read_health(port, 5) == {"ready": True, "not_ready": {}, "restarts": {}}
    health.fault("spam_model", "its process 7 was ended by SIGKILL")
    assert read_health(port, 5)["not_ready"] == {"spam_model": "its process 7 was ended by SIGKILL"}
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
    assert (caught.value.code, json.loads(caught.value.read())["ready"]) == (503, False)
    health.lose_all("tritonserver", "tritonserver was ended by SIGKILL")
    assert read_health(port, 5)["not_ready"] == {"tritonserver": "tritonserver was ended by SIGKILL"}
    health.mend("tritonserver")
    health.count_restart("tritonserver")
    assert read_health(port, 5) == {"ready": True, "not_ready": {}, "restarts": {"tritonserver": 1}}


def test_other_addresses_are_not_there(port: int) -> None:
    Health().serve(port)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)
    assert (caught.value.code, "ask for /health" in caught.value.read().decode()) == (404, True)


def test_a_port_where_nobody_or_somebody_else_answers(port: int) -> None:
    with pytest.raises(OSError, match="refused"):
        read_health(port, 5)


def test_a_probe_that_resets_its_connection_is_not_told(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    Health().serve(port)
    before = threading.active_count()
    reset_at_the_end = struct.pack("ii", 1, 0)
    for sent in (b"", b"GET /health"):
        with socket.create_connection(("127.0.0.1", port)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_at_the_end)
            probe.sendall(sent)
    assert read_health(port, 5)["ready"]
    until(lambda: threading.active_count() <= before, "the connections are still open")
    assert capfd.readouterr().err == ""
