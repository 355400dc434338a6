"""Changes a few keys of a service.toml and leaves all else as its owner wrote it."""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from trident.service import parse_spec


def set_serving(path: Path, values: Mapping[str, Any]) -> None:
    """Set keys of `[serving]`; comments, order and the other keys stay, and the file is replaced at once.

    Args:
        path: of a service.toml that can be read.
        values: key → value.

    Raises:
        ServiceError: the values are not allowed; the file is as it was.
        OSError: it cannot be written; the file is as it was.
    """
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    if "serving" not in document:
        document.add("serving", tomlkit.table())
    serving = document["serving"]
    for key, value in values.items():
        serving[key] = value
    parse_spec(document.unwrap())
    target = path.resolve()  # a link stays one
    descriptor, name = tempfile.mkstemp(prefix=".service-", dir=target.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            file.write(tomlkit.dumps(document))
        os.chmod(name, stat.S_IMODE(target.stat().st_mode))  # noqa: PTH101 - the name that mkstemp gave
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
