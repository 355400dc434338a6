"""More requests than a service can serve: the excess is refused at once, and no model works for it; who overtakes."""

import asyncio
import re
import shutil
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from leftovers import leftovers
from trident.server.lifecycle import Server
from trident_client import AsyncClient, Client, Retry, Unavailable

MODELS = Path(__file__).parent.parent / "models"
STAGES = Path(__file__).parents[2] / "ensemble" / "trident" / "stages"
LIMIT, FLOOD = 4, 40
DELAY_S = 0.1
DEADLINE_S = 30.0
X = {"x": np.array([[b"a"]], dtype=object)}
TENSORS = """
max_batch_size: 1
input { name: "x" data_type: TYPE_STRING dims: 1 }
output { name: "y" data_type: TYPE_STRING dims: 1 }
"""
ONE_AT_A_TIME = "instance_group { kind: KIND_CPU count: 1 }\ndynamic_batching { "
DOOR = f"""
parameters {{ key: "MAX_WAITING" value {{ string_value: "{LIMIT}" }} }}
parameters {{ key: "WAITING_FOR" value {{ string_value: "behind" }} }}
"""
STEPS = """
ensemble_scheduling {
  step { model_name: "DOOR" model_version: -1 input_map { key: "x" value: "x" } output_map { key: "y" value: "m" } }
  step { model_name: "BEHIND" model_version: -1 input_map { key: "x" value: "m" } output_map { key: "y" value: "y" } }
}
"""
RUN = """
class InvalidInput(Exception):
    pass


def run(x):
    return {"y": x}
"""


def add(repository: Path, name: str, config: str, files: dict[str, str]) -> None:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder.parent / "config.pbtxt").write_text(f'name: "{name}"\n{config}', encoding="utf-8")
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with `guarded`: a stage with a gate, and a slow model; and `ranked`, the same with priorities."""
    repository = tmp_path_factory.mktemp("guarded")
    stage = {name: (STAGES / name).read_text() for name in ("model.py", "gate.py")}
    stage |= {"stage.py": (STAGES / "custom" / "stage.py").read_text(), "user_stage.py": RUN}
    slow = (MODELS / "slow" / "1" / "model.py").read_text().replace("DELAY_S = 2.0", f"DELAY_S = {DELAY_S}")
    python = f'backend: "python"\n{TENSORS}{ONE_AT_A_TIME}'
    priorities = "priority_levels: 2 default_priority_level: 2 }"
    add(repository, "door", f"{python}}}{DOOR}", stage)
    add(repository, "behind", f"{python}}}", {"model.py": slow})
    slower = slow.replace(f"DELAY_S = {DELAY_S}", f"DELAY_S = {5 * DELAY_S}")  # time for the one that overtakes
    add(repository, "ranked_behind", f"{python}{priorities}", {"model.py": slower})
    for name, behind in (("guarded", "behind"), ("ranked", "ranked_behind")):
        steps = STEPS.replace("DOOR", "door").replace("BEHIND", behind)
        add(repository, name, f'platform: "ensemble"\n{TENSORS}{steps}', {})
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server
    assert leftovers(server) == []
    shutil.rmtree(repository)


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
        assert asked(guarded, "behind", "nv_inference_count") - before == len(ends["answered"])
        assert becomes(lambda: asked(guarded, "behind", "nv_inference_pending_request_count") == 0)
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
