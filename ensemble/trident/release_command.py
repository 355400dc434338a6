"""`trident release` and `trident rollback`: which version of a service is served."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from trident_client import Client

from trident.options import AsJson, Repository, RepositoryUrl, Timeout, is_set_for_all

if TYPE_CHECKING:
    from trident.releasing import ReleaseResult
    from trident.serving import ServedService

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the service.", show_default=False)]
LOAD_S = 300.0


def release(
    context: typer.Context,
    name: Name,
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", min=1, help="To be served.", show_default="the newest")
    ] = None,
    model_repository: Repository = Path("model_repository"),
    url: RepositoryUrl = None,
    timeout: Timeout = LOAD_S,
    as_json: AsJson = False,
) -> None:
    """Serve another version of a service.

    \b
    trident release spam
    trident release spam 3

    A server that runs loads it beside the one it serves, tries it, and changes over; no request fails. A version that
    does not load or answer is refused. The version before stays loaded for `trident rollback`.

    The server at --url must see this folder, or nothing is changed. TRIDENT_URL counts if its server does; one of
    another folder is left out, which is said on stderr.
    """  # noqa: D301 - click's mark for lines that stay as they are
    from trident.releasing import release as run

    with _servers(context, name, model_repository, url, timeout) as servers:
        result = run(name, model_repository, version, servers)
    _show(result, model_repository, as_json)


def rollback(
    context: typer.Context,
    name: Name,
    model_repository: Repository = Path("model_repository"),
    url: RepositoryUrl = None,
    timeout: Timeout = LOAD_S,
    as_json: AsJson = False,
) -> None:
    """Serve the version that was released before.

    \b
    trident rollback spam

    No request fails. The version that it replaces is unloaded, and can be released again. --url and TRIDENT_URL as in
    `trident release`.
    """  # noqa: D301
    from trident.releasing import rollback as run

    with _servers(context, name, model_repository, url, timeout) as servers:
        result = run(name, model_repository, servers)
    _show(result, model_repository, as_json)


@contextmanager
def _servers(
    context: typer.Context, name: str, repository: Path, url: str | None, timeout_s: float
) -> Iterator[list["ServedService"]]:
    from trident.repository_servers import servers_of
    from trident.serving import ServedService

    found = servers_of(repository, url, by_the_way=is_set_for_all(context))
    with ExitStack() as stack:
        clients = [
            stack.enter_context(Client(address, timeout_s=timeout_s, retry=None, admin_key=key))
            for address, key in found
        ]
        yield [ServedService(client, name, repository) for client in clients]


def _show(result: "ReleaseResult", repository: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(result)))
        return
    print(f"released {result.name} version {result.version} in {repository}")
    if result.servers:
        print(f"served by {', '.join(result.servers)}")
    if result.before:
        print(f"version {result.before} is kept for: trident rollback {result.name}")
    if result.settings_wait:
        print(f"the new [serving] settings wait; for them stop the servers, then: trident release {result.name}")
    if result.removed:
        print(f"removed version {', '.join(map(str, result.removed))}")
    if result.left:
        print(result.left)
