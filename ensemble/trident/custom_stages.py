"""Stages of the user's own: a template to begin with, and what they need checked before they are served."""

from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from trident.errors import ServiceError

TEMPLATE = Path(__file__).parent / "stages" / "custom" / "user_stage.py"


def new_stage(path: Path) -> None:
    """Write the template of a stage.

    Raises:
        ServiceError: something is there already.
    """
    if path.exists():
        raise ServiceError(f"{path} exists; choose another name, or remove it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(TEMPLATE.read_bytes())


def check_requirements(requirements: list[str]) -> None:
    """See that what a stage imports is installed, for the Python that serves it is the one that builds it.

    Raises:
        ServiceError: a requirement cannot be read, is not installed, or is installed in another version.
    """
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise ServiceError(f"requirement {text!r} cannot be read: {error}; write it as pip takes it") from None
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            raise ServiceError(f"requirement '{text}' is not installed; pip install '{text}'") from None
        if not requirement.specifier.contains(version, prereleases=True):
            raise ServiceError(f"requirement '{text}' is installed as {version}; pip install '{text}'")
