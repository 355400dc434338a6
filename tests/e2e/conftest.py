"""A copy of the project as a fresh clone has it, in which `make demo` has run once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from e2e_project import Project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The working tree's files without anything that git ignores, committed; commands come from this environment."""
    folder = tmp_path_factory.mktemp("project")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    project = Project(folder, "")
    project.git("init", "-q")
    project.git("add", "-A")
    project.git("-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "as cloned")
    result = project.make("demo")
    assert result.returncode == 0, result.stderr[-3000:]
    return Project(folder, result.stdout)


@pytest.fixture(scope="session")
def shell_environment() -> dict[str, str]:
    """The environment of a user who has activated .venv."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("COLUMNS", None)  # set where tests run in several processes
    return environment
