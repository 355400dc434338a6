"""The two folders that Trident keeps outside a project."""

import os
from pathlib import Path

from trident_client import TridentError


def cache_dir() -> Path:
    """For what can be made or fetched again: TRIDENT_CACHE_DIR, else trident/ in the user's cache folder."""
    return _folder("TRIDENT_CACHE_DIR", "XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """For running servers and their logs: TRIDENT_STATE_DIR, else trident/ in the user's state folder."""
    return _folder("TRIDENT_STATE_DIR", "XDG_STATE_HOME", ".local/state")


def _folder(own: str, xdg: str, default: str) -> Path:
    if named := os.environ.get(own):
        return Path(named)
    base = os.environ.get(xdg)
    try:
        return (Path(base) if base else Path.home() / default) / "trident"
    except RuntimeError:
        raise TridentError(f"there is no home folder; set HOME, or {own} to a folder to write into") from None
