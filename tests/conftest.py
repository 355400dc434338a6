"""What several test folders share: a state folder of their own, a tiny trained service, the project's files."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data" / "sms_spam.tsv"
TRIDENT = str(Path(sys.executable).parent / "trident")

RunTrident = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes one makes the project of the e2e tests, which takes longest, and begins with it."""
    of_project = {item: "project" in getattr(item, "fixturenames", ()) for item in items}
    for item, needed in of_project.items():
        item.add_marker(pytest.mark.xdist_group("project" if needed else item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: not of_project[item])


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
