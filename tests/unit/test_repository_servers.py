"""Which servers a release tells: those of the repository, and no other."""

from pathlib import Path

import pytest
from server_states import server
from trident.errors import TridentError
from trident.repository_servers import servers_of
from trident_client import ConnectError

NOTHING = "http://127.0.0.1:9"
ELSEWHERE = "grpc://127.0.0.2:9"  # an address that is not called one of this machine's


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the server on port 18000 serves; the one on port 18010 serves another."""
    monkeypatch.setenv("TRIDENT_STATE_DIR", str(tmp_path / "state"))
    folder = tmp_path / "model_repository"
    folder.mkdir()
    server(18000, repository=str(folder)).write()
    server(18010, repository="/models").write()
    return folder


OWN = ("grpc://127.0.0.1:18001", "secret")


def test_ones_own_servers_of_the_folder_are_found(repository: Path) -> None:
    assert servers_of(repository) == [OWN]


@pytest.mark.parametrize("by_the_way", [True, False])
def test_a_url_of_one_of_them_adds_nothing(repository: Path, by_the_way: bool) -> None:
    assert servers_of(repository, "http://localhost:18000", by_the_way=by_the_way) == [OWN]


def test_a_server_of_another_folder_is_refused(repository: Path) -> None:
    message = f"^http://127.0.0.1:18010 is no server of {repository}: it serves /models; nothing is changed. Give"
    with pytest.raises(TridentError, match=message):
        servers_of(repository, "http://127.0.0.1:18010")


@pytest.mark.parametrize(
    ("url", "reason"), [("http://127.0.0.1:18010", "it serves /models"), (NOTHING, "nothing is there")]
)
def test_one_that_was_set_for_all_commands_is_left_out(
    repository: Path, capsys: pytest.CaptureFixture[str], url: str, reason: str
) -> None:
    assert servers_of(repository, url, by_the_way=True) == [OWN]
    assert capsys.readouterr().err == f"TRIDENT_URL={url} is no server of {repository} and left out: {reason}\n"


def test_a_server_that_cannot_be_asked_may_be_one_of_the_folder(repository: Path) -> None:
    for url in (NOTHING, ELSEWHERE):
        with pytest.raises(ConnectError):
            servers_of(repository, url)
    with pytest.raises(ConnectError, match=r"nothing is changed\. To go on without that server unset TRIDENT_URL$"):
        servers_of(repository, ELSEWHERE, by_the_way=True)
    assert list(repository.iterdir()) == []


def test_whoever_changes_the_folder_says_that_it_is_missing(tmp_path: Path) -> None:
    assert servers_of(tmp_path / "nowhere", NOTHING) == []
