"""How Trident knows a model that `trident build` wrote: by the first line of its config.pbtxt."""

from pathlib import Path

HEADER = "# Written by `trident build` from service.toml; change that and build again.\n"


def is_built(model: Path) -> bool:
    """Whether `trident build` wrote the configuration of a model's folder, so that nothing is missing in it."""
    try:
        with (model / "config.pbtxt").open("rb") as file:
            return file.read(len(HEADER.encode())) == HEADER.encode()
    except OSError:
        return False
