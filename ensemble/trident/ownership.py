"""What `trident build` leaves in a config.pbtxt for Trident itself, and how Trident knows that it wrote one."""

from pathlib import Path

HEADER = "# Written by `trident build` from service.toml; change that and build again.\n"
HANG_PARAMETER = "HANG_TIMEOUT_S"  # of an ensemble; `trident serve` reads it, and to Triton it means nothing


def is_built(model: Path) -> bool:
    """Whether `trident build` wrote the configuration of a model's folder, so that nothing is missing in it."""
    try:
        with (model / "config.pbtxt").open("rb") as file:
            return file.read(len(HEADER.encode())) == HEADER.encode()
    except OSError:
        return False
