"""More requests than a service can serve: the excess is refused at once, and no model works for it; who overtakes."""

import asyncio
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from leftovers import leftovers
from overload_models import write_guarded
from trident.server.lifecycle import Server
from trident_client import AsyncClient, Client, Retry, Unavailable

LIMIT, FLOOD = 4, 40
DELAY_S = 0.1
DEADLINE_S = 30.0
X = {"x": np.array([[b"a"]], dtype=object)}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with `guarded`: a stage with a gate, and a slow model; and `ranked`, the same with priorities."""
    repository = tmp_path_factory.mktemp("guarded")
    write_guarded(repository, LIMIT, DELAY_S, batch=1)
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server
    assert leftovers(server) == []


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, guarded: Server) -> str:
    return guarded.http_url if request.param == "http" else guarded.grpc_url


def asked(server: Server, model: str, metric: str) -> float:
    """A metric of Triton's for a model."""
    with urllib.request.urlopen(server.metrics_url, timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(rf'^{metric}{{[^}}]*model="{model}"[^}}]*}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def becomes(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_the_excess_is_refused_at_once_and_no_work_is_wasted(guarded: Server, url: str) -> None:
    ends: dict[str, list[float]] = {"answered": [], "refused": []}
    reasons: set[str] = set()

    def ask(client: Client) -> None:
        try:
            client.infer_tensors("guarded", X)
            ends["answered"].append(time.monotonic())
        except Unavailable as error:
            ends["refused"].append(time.monotonic())
            reasons.add(re.sub(r"\d+", "N", str(error).partition("': ")[2]))

    before = asked(guarded, "behind", "nv_inference_count")
    with Client(url, timeout_s=30, retry=None) as client:
        with ThreadPoolExecutor(FLOOD) as pool:
            list(pool.map(ask, [client] * FLOOD))
        assert len(ends["answered"]) + len(ends["refused"]) == FLOOD
        assert ends["answered"]
        assert len(ends["refused"]) > FLOOD / 4
        assert reasons == {"N requests wait, and N may (max_queue_size); try again later"}
        assert min(ends["refused"]) < max(ends["answered"])  # not when all is over
        assert becomes(lambda: asked(guarded, "behind", "nv_inference_pending_request_count") == 0)
        # Triton counts an inference when its answer is on the way already.
        assert becomes(lambda: asked(guarded, "behind", "nv_inference_count") - before >= len(ends["answered"]))
        assert asked(guarded, "behind", "nv_inference_count") - before == len(ends["answered"])
        assert client.infer_tensors("guarded", X)["y"].tolist() == X["x"].tolist()


def test_the_client_asks_again_until_there_is_room(guarded: Server, url: str) -> None:
    retry = Retry(attempts=40, base_s=0.2, max_s=0.5)
    with Client(url, timeout_s=60, retry=retry) as client, ThreadPoolExecutor(FLOOD // 2) as pool:
        answers = list(pool.map(lambda _: client.infer_tensors("guarded", X)["y"].tolist(), range(FLOOD // 2)))
    assert answers == [X["x"].tolist()] * (FLOOD // 2)


async def ask_all(url: str) -> tuple[int, int]:
    async with AsyncClient(url, timeout_s=30, retry=None) as client:
        found = await asyncio.gather(
            *(client.infer_tensors("guarded", X) for _ in range(FLOOD)), return_exceptions=True
        )
    return sum(isinstance(one, dict) for one in found), sum(isinstance(one, Unavailable) for one in found)


def test_the_asynchronous_client_says_the_same(url: str) -> None:
    answered, refused = asyncio.run(ask_all(url))
    assert answered
    assert refused
    assert answered + refused == FLOOD


def test_a_request_of_high_priority_overtakes_those_that_wait(guarded: Server, url: str) -> None:
    """An ensemble hands the priority on to its steps."""
    order: list[str] = []

    def ask(client: Client, name: str, parameters: dict[str, int]) -> None:
        client.infer_tensors("ranked", X, parameters=parameters)
        order.append(name)

    with Client(url, timeout_s=30) as client:
        # Retries: the gate may refuse some of them.
        threads = [threading.Thread(target=ask, args=(client, "low", {})) for _ in range(LIMIT)]
        for thread in threads:
            thread.start()
        assert becomes(lambda: asked(guarded, "ranked_behind", "nv_inference_pending_request_count") >= LIMIT - 2)
        threads.append(threading.Thread(target=ask, args=(client, "high", {"priority": 1})))
        threads[-1].start()
        for thread in threads:
            thread.join()
    assert sorted(order) == ["high", *["low"] * LIMIT]
    assert order[-1] == "low"
