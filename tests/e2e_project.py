"""A checkout of the project that the end-to-end tests work in."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Project:
    """A checkout of the project.

    Attributes:
        folder: where it lies.
        demo: what `make demo` printed there.
    """

    folder: Path
    demo: str

    def git(self, *arguments: str) -> str:
        """Run git in it."""
        return subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True).stdout

    def make(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run make in it, as CI or a user would."""
        # -o: what the tests run in is installed, and a Makefile that began to install would begin by removing it.
        # COLUMNS is set where tests run in several processes; what is shown was printed to no terminal.
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "COLUMNS"
        }
        command = [
            "make",
            "--no-print-directory",
            "-o",
            ".venv/installed",
            f"BIN={Path(sys.executable).parent}",
            *arguments,
        ]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=280)
