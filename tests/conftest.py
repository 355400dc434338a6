"""What several test folders share: a state folder of their own, a tiny trained service, the project's files."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scheduling import PartScheduling, longest_first

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data" / "sms_spam.tsv"
TRIDENT = str(Path(sys.executable).parent / "trident")

RunTrident = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_configure() -> None:
    """A shell's background jobs, and what they start, ignore SIGINT; what tests start shall heed it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # after those of pytest-randomly
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> PartScheduling:
    return PartScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers of the tests are not seen by `trident stop` of the developer, nor the other way round."""
    before = os.environ.get("TRIDENT_STATE_DIR")
    os.environ["TRIDENT_STATE_DIR"] = str(tmp_path_factory.mktemp("state"))
    os.environ.pop("TRIDENT_URL", None)
    yield
    del os.environ["TRIDENT_STATE_DIR"]
    if before is not None:
        os.environ["TRIDENT_STATE_DIR"] = before


@pytest.fixture(scope="session")
def trident() -> RunTrident:
    """Runs the command `trident` as a user would; the result has returncode, stdout and stderr."""

    def run(*arguments: object, **options: object) -> "subprocess.CompletedProcess[str]":
        settings: dict[str, object] = {"capture_output": True, "text": True, "timeout": 240} | options
        return subprocess.run([TRIDENT, *map(str, arguments)], **settings)  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture(scope="session")
def tiny_service(tmp_path_factory: pytest.TempPathFactory, trident: RunTrident) -> Path:
    """A service trained from scratch on the real messages, in seconds."""
    services = tmp_path_factory.mktemp("services")
    result = trident("train", DATA, "--name", "tiny", "--encoder", "none", "--services", services)
    assert result.returncode == 0, result.stderr
    return services / "tiny"
