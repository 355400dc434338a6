"""Which servers serve a model repository, for commands that change one."""

import sys
import tempfile
from pathlib import Path

from trident_client import Client, ClientError, ConnectError
from trident_client.settings import without_secrets

from trident.errors import TridentError
from trident.options import URL_VARIABLE
from trident.server.state import port_here, running_servers, server_at
from trident.versions import locked

ASK_S = 30.0

# URL, and admin key if it is known.
Address = tuple[str, str | None]


def servers_of(repository: Path, url: str | None = None, *, by_the_way: bool = False) -> list[Address]:
    """The servers that serve a repository: all that this user runs on this machine, and one elsewhere.

    Args:
        repository: the folder.
        url: of one more server, or of one of those; it must serve the folder.
        by_the_way: the URL was set for all commands, and not given for this one. So a server that serves another
            folder, or none at an address of this machine, is left out, which is said on stderr.

    Raises:
        TridentError: the server at the URL serves another folder.
        ClientError: it cannot be asked.
    """
    here = str(repository.resolve())
    own: list[Address] = [(s.grpc_url, s.admin_key) for s in running_servers() if s.model_repository == here]
    if url is None or not repository.is_dir():  # who changes the folder says that it is missing
        return own
    state = server_at(url)
    if state is not None:
        reason = "" if state.model_repository == here else f"it serves {state.model_repository}"
    elif not (reason := _objection(url, repository, by_the_way)):
        return [*own, (url, None)]
    if not reason:
        return own
    if not by_the_way:
        raise TridentError(
            f"{without_secrets(url)} is no server of {repository}: {reason}; nothing is changed. Give the --url of "
            "one that is, or none"
        )
    print(f"{URL_VARIABLE}={without_secrets(url)} is no server of {repository} and left out: {reason}", file=sys.stderr)
    return own


def _objection(url: str, repository: Path, by_the_way: bool) -> str:
    """Why a server that is none of this user's is none of the repository; empty if it is one."""
    try:
        return "" if _sees(url, repository) else "it serves another folder"
    except ClientError as error:
        if not by_the_way:
            raise
        if isinstance(error, ConnectError) and port_here(url) is not None:
            return "nothing is there"
        raise type(error)(f"{error}; nothing is changed. To go on without that server unset {URL_VARIABLE}") from None


def _sees(url: str, repository: Path) -> bool:
    """Whether a server's model repository is this folder: then Triton's index has a name that appears in it.

    Two folders may hold the same services, and a server of the other one must not be told to load what lies here.
    """
    with Client(url, timeout_s=ASK_S, retry=None) as client, locked(repository):
        mark = Path(tempfile.mkdtemp(prefix=".build-", dir=repository))  # if we are killed, the next build removes it
        try:
            index = client.get_model_repository_index()
        finally:
            mark.rmdir()
    return mark.name in {entry["name"] for entry in index}
