"""Where Trident keeps what it fetches and what runs."""

from pathlib import Path

import pytest
from trident.paths import cache_dir, state_dir


@pytest.mark.parametrize(
    ("environment", "cache", "state"),
    [
        ({}, "/users/me/.cache/trident", "/users/me/.local/state/trident"),
        ({"XDG_CACHE_HOME": "", "XDG_STATE_HOME": ""}, "/users/me/.cache/trident", "/users/me/.local/state/trident"),
        ({"XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"}, "/c/trident", "/s/trident"),
        ({"XDG_CACHE_HOME": "/c", "TRIDENT_CACHE_DIR": "/own", "TRIDENT_STATE_DIR": "/its"}, "/own", "/its"),
    ],
)
def test_folders_follow_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], cache: str, state: str
) -> None:
    monkeypatch.setenv("HOME", "/users/me")
    for name in ("TRIDENT_CACHE_DIR", "XDG_CACHE_HOME", "TRIDENT_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (cache_dir(), state_dir()) == (Path(cache), Path(state))
