"""Releasing: the ensemble of a service is pinned to another version, while servers serve it.

Source: Triton 24.10, src/model_lifecycle.cc of its core, and tried with it. Loading a model with one version more loads
that one alone; the others serve on, and if it fails, they stay. An ensemble is replaced when the new one is ready, but
one that does not load takes the old one with it. A server that starts does not load a model at all if one of its
versions fails. So a version is loaded with a configuration of its own first, which stands in no file, and only one that
has loaded and answered gets into the configs. And a version is unloaded only when the ensemble that asks it is gone.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trident_client import ClientError

from trident.errors import BuildError, ReleaseError, ServiceError
from trident.pins import Pin, Texts, pinned
from trident.placement import Placement
from trident.serving import ServedService
from trident.versions import (
    bear_padding,
    configs_of,
    find_service,
    locked,
    prune,
    read_configs,
    read_record,
    read_text,
    released,
    whole_versions,
)

Choice = Callable[[Pin, set[int]], Pin]


@dataclass(frozen=True)
class ReleaseResult:
    """What a release did.

    Attributes:
        name: the service.
        version: which is released now.
        before: which `trident rollback` would release; 0 if there is none.
        servers: addresses of the servers that serve it now.
        removed: versions that are gone from the repository.
        settings_wait: whether [serving] was changed and is as it was, because servers run: tritonserver 24.10 may crash
            when it loads models anew that are under load.
        left: why versions that are no longer served are not removed, and what to do; empty if there are none left.
    """

    name: str
    version: int
    before: int
    servers: list[str]
    removed: list[int]
    settings_wait: bool
    left: str


def release(
    name: str, repository: Path, version: int | None = None, servers: Sequence[ServedService] = ()
) -> ReleaseResult:
    """Pin a service to a version that was built.

    Args:
        name: of the service.
        repository: the model repository.
        version: the newest that is whole if None.
        servers: those that serve the repository. Each loads the version beside the released one and must get answers
            from it before anything is changed; then all change over, without a request that fails.

    Raises:
        ServiceError: there is no such service or version.
        ReleaseError: the version does not load or answer, or a server cannot be told; the released one serves on.
        BuildError: the disk refused; the released version serves on.
    """

    def choose(pin: Pin, whole: set[int]) -> Pin:
        chosen = max(whole, default=0) if version is None else version
        if chosen not in whole:
            found = ", ".join(map(str, sorted(whole))) or "none that is whole"
            raise ServiceError(f"{name} has no version {chosen} in {repository}; there is {found}")
        if chosen == pin.version:
            return pin
        alone = read_record(repository, name, chosen).get("versions_kept", 2) == 1
        return Pin(chosen, 0 if alone else pin.version)

    return _change(name, repository, choose, servers)


def rollback(name: str, repository: Path, servers: Sequence[ServedService] = ()) -> ReleaseResult:
    """Pin a service to the version that was released before the present one, which is then no longer loaded.

    Args:
        name: of the service.
        repository: the model repository.
        servers: see `release`.

    Raises:
        ServiceError: there is no such service, or no version was released before.
        ReleaseError: see `release`.
        BuildError: see `release`.
    """

    def choose(pin: Pin, whole: set[int]) -> Pin:
        if not pin.before:
            others = ", ".join(map(str, sorted(whole - {pin.version}))) or "none"
            raise ServiceError(
                f"no version of {name} is kept as the one released before version {pin.version}; other versions: "
                f"{others} (trident release {name} VERSION)"
            )
        return Pin(pin.before)

    return _change(name, repository, choose, servers)


def _change(name: str, repository: Path, choose: Choice, servers: Sequence[ServedService]) -> ReleaseResult:
    if not repository.is_dir():
        raise ServiceError(f"no model repository {repository}; `trident build services/NAME` writes one")
    try:
        with locked(repository):
            find_service(name, repository)
            former = released(repository, name)
            target = choose(former, whole_versions(repository, name))
            ragged = bear_padding(repository, name, {*former.loaded, *target.loaded})
            texts, present = configs_of(repository, name, target.version), read_configs(repository, name)
            serving = [server for server in servers if server.serves()]
            waits = bool(serving) and pinned(texts, target, ragged=ragged) != pinned(present, target, ragged=ragged)
            texts = present if waits else texts
            leaving = pinned(texts, target, ragged=ragged, leaving=former.loaded if serving else ())
            _change_over(repository, leaving, former, target, serving)
            removed, left = _tidy_up(repository, pinned(texts, target, ragged=ragged), target, serving)
    except OSError as error:
        raise BuildError(
            f"cannot write {error.filename or repository}: {error.strerror}; nothing is released. Free space or mend "
            "the path"
        ) from error
    urls = [server.url for server in serving]
    return ReleaseResult(name, target.version, target.before, urls, removed, waits, left)


def _change_over(repository: Path, texts: Texts, former: Pin, target: Pin, servers: Sequence[ServedService]) -> None:
    """Bring servers to another version, and the repository's configs; or leave both as they are."""
    present = read_configs(repository, [*texts][-1])
    with _explained(texts, former, target):
        try:
            for server in servers:
                server.try_out(present, target.version, former.version)
            with _placed(repository, texts):
                for server in servers:
                    server.change_over(target.version)
        except BaseException:
            for server in servers:
                server.go_back(present)
            raise


def _tidy_up(repository: Path, texts: Texts, target: Pin, servers: Sequence[ServedService]) -> tuple[list[int], str]:
    """Take what is no longer served out of configs, servers and repository; whatever hinders, the release is done.

    Returns:
        Versions that are gone from the repository, and what is left to do, see `ReleaseResult`.
    """
    *steps, name = texts
    try:
        idle = [server for server in servers if server.has_replaced(target.version)]
        with _placed(repository, texts):
            done = [server for server in idle if server.unload_others(steps, target.loaded)]
        late = [server.url for server in servers if server not in done]
        if not late:
            count = int(read_record(repository, name, target.version).get("versions_kept", 2))
            return prune(repository, name, count), ""
        reason = f"{', '.join(late)} did not unload it"
    except OSError as error:
        reason = f"cannot write {error.filename or repository}: {error.strerror}"
    again = f"the next release does that, or: trident release {name} {target.version}"
    return [], f"what is no longer served is not removed yet: {reason}; {again}"


@contextmanager
def _explained(texts: Texts, former: Pin, target: Pin) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        *_, name = texts
        left = f"version {former.version} serves on" if former.version else "nothing is released"
        raise ReleaseError(f"{name} version {target.version} cannot be released: {error}; {left}") from error


@contextmanager
def _placed(repository: Path, texts: Texts) -> Iterator[None]:
    """Put configs into place, the ensemble's last; all are put back if the context ends by an exception."""
    with (
        tempfile.TemporaryDirectory(prefix=".build-", dir=repository) as folder,
        Placement(Path(folder) / "replaced") as placement,
    ):
        for model, text in texts.items():
            new, place = Path(folder) / f"{model}.pbtxt", repository / model / "config.pbtxt"
            if read_text(place) != text:
                new.write_text(text, encoding="utf-8")
                placement.place(new, place)
        yield
