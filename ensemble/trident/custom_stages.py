"""Stages of the user's own: a template to begin with, and what they need checked before they are served."""

import ast
from collections.abc import Iterator
from importlib import metadata
from importlib.util import decode_source, find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from triton_tensorflow.signatures import DATA_TYPES

from trident.errors import ServiceError
from trident.layout import Tensor

TEMPLATE = Path(__file__).parent / "stages" / "custom" / "user_stage.py"
DATATYPES = sorted({known.triton for known in DATA_TYPES.values()})
LARGEST_DIM = 2**31 - 1
EXAMPLE = '{"name": ("FP32", [-1])}'


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


def read_custom(path: Path) -> dict[str, tuple[Tensor, ...]]:
    """The `INPUTS` and `OUTPUTS` that a stage of the user's own declares; the file is read, not run.

    Raises:
        ServiceError: they are missing or no `{"name": ("FP32", [dims])}`, or `run` or `InvalidInput` is missing, or
            something that the file imports is not installed.
    """
    try:
        tree = ast.parse(decode_source(path.read_bytes()))
    except (SyntaxError, ValueError) as error:
        raise ServiceError(
            f"{path} is not Python: {error}; expected a stage as `trident new stage` writes it"
        ) from None
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("INPUTS", "OUTPUTS"):
                found[name] = _read_tensors(path, name, node.value)
    missing = sorted({"INPUTS", "OUTPUTS"} - set(found))
    if missing:
        raise ServiceError(f"{path} has no {' and no '.join(missing)}; add them as {EXAMPLE}")
    missing = sorted({"InvalidInput", "run"} - set(_defined(tree)))
    if missing:
        raise ServiceError(f"{path} has no {' and no '.join(missing)}; see what `trident new stage` writes")
    _check_imports(path, tree)
    return found


def _read_tensors(path: Path, side: str, node: ast.expr) -> tuple[Tensor, ...]:
    try:
        entries = ast.literal_eval(node)
        tensors = tuple(Tensor(name, f"TYPE_{kind}", tuple(dims)) for name, (kind, dims) in entries.items())
    except (ValueError, TypeError, AttributeError) as error:
        raise ServiceError(f"{path}: {error}; INPUTS and OUTPUTS must be written out as {EXAMPLE}") from None
    if not tensors:
        raise ServiceError(f"{path}: {side} is empty; expected at least one tensor, as {EXAMPLE}")
    for tensor in tensors:
        if not isinstance(tensor.name, str) or not tensor.name or not tensor.name.isprintable():
            raise ServiceError(f"{path}: {side} names a tensor {tensor.name!r}; expected a name as in {EXAMPLE}")
        if tensor.data_type not in DATATYPES:
            known = ", ".join(name.removeprefix("TYPE_") for name in DATATYPES)
            raise ServiceError(f"{path}: '{tensor.name}' is {tensor.data_type.removeprefix('TYPE_')}; expected {known}")
        if not tensor.dims or not all(map(_is_dim, tensor.dims)):
            raise ServiceError(
                f"{path}: '{tensor.name}' has the dims {list(tensor.dims)}; expected whole numbers ≥ 1, or -1 where "
                "any size will do, without the batch axis"
            )
    return tensors


def _is_dim(size: Any) -> bool:
    return type(size) is int and (size == -1 or 1 <= size <= LARGEST_DIM)


def _defined(tree: ast.Module) -> Iterator[str]:
    """The names that a file defines or imports, wherever in it that is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name


def _check_imports(path: Path, tree: ast.Module) -> None:
    """A package that is missing would show when the service is loaded, and keep the server from starting."""
    for node in tree.body:  # what is tried elsewhere may be missing
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise ServiceError(f"{path} imports a file beside it, which is not served; write it all into one file")
            names = [node.module or ""]
        for package in {name.partition(".")[0] for name in names}:
            if find_spec(package) is None:
                raise ServiceError(f"{path} imports '{package}', which is not installed; pip install it first")
