"""Python's bytecode of what a server is about to load.

The first load of a version would write it beside the code, after Triton has noted when the folder was last changed. So
the next load of another version would load this one anew: beside the old one, under load, which tritonserver 24.10 does
not always survive (`boost::interprocess::lock_exception`).
"""

import compileall
from pathlib import Path


def write_bytecode(folder: Path) -> None:
    """Compile all Python files below a folder; what cannot be compiled or written is left as it is."""
    compileall.compile_dir(folder, quiet=2)
