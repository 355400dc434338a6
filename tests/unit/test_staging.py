"""A service folder is made beside its place by one process at a time, and takes it whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from trident.errors import ServiceError
from trident.staging import staged

# Begins a service, says so, and goes on when stdin is closed.
MAKE = """
import sys
from pathlib import Path
from trident.staging import staged

with staged(Path(sys.argv[1])) as new:
    (new / "service.toml").write_text("new")
    print("begun", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A service that stands."""
    folder = tmp_path / "services" / "spam"
    folder.mkdir(parents=True)
    (folder / "service.toml").write_text("old")
    return folder


def make(folder: Path) -> "subprocess.Popen[str]":
    """Another process that has begun to make the service anew."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", MAKE, str(folder)], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def left(folder: Path) -> list[str]:
    """What lies where the service lies."""
    return sorted(path.name for path in folder.parent.iterdir())


@pytest.mark.parametrize("stands", [True, False])
def test_the_new_one_takes_its_place_when_the_context_ends(folder: Path, stands: bool) -> None:
    if not stands:
        folder = folder.with_name("other")
    with staged(folder) as new:
        (new / "labels.txt").write_text("a")
        assert folder.exists() == stands
    assert [path.name for path in folder.iterdir()] == ["labels.txt"]
    assert not [name for name in left(folder) if name.startswith(".")]


def test_a_failure_leaves_the_former_one(folder: Path) -> None:
    def make_half() -> None:
        with staged(folder) as new:
            (new / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_half()
    assert left(folder) == ["spam"]
    assert (folder / "service.toml").read_text() == "old"


def test_a_disk_that_refuses_is_a_line_with_a_remedy(folder: Path) -> None:
    """A folder stands where a file is to be written; and a file where folders are to be made."""

    def make_half() -> None:
        with staged(folder) as new:
            (new / "half").mkdir()
            (new / "half").write_text("")

    end = "; all is as it was. Free space or mend the path"
    with pytest.raises(ServiceError, match=f"^cannot make the service {folder}: Is a directory: '.*/half'{end}$"):
        make_half()
    assert left(folder) == ["spam"]
    file = folder / "service.toml"
    with pytest.raises(ServiceError, match=f"^cannot make the service {file}/x: File exists: '{file}'{end}$"):
        staged(file / "x").__enter__()


def test_what_a_killed_process_left_is_removed_by_the_next(folder: Path) -> None:
    with make(folder) as process:
        process.kill()
    assert left(folder) == [".spam.new", "spam"]
    assert (folder / "service.toml").read_text() == "old"
    with staged(folder) as new:
        assert list(new.iterdir()) == []
    assert left(folder) == ["spam"]
    assert list(folder.iterdir()) == []


def test_a_service_that_a_killed_process_had_moved_aside_comes_back(folder: Path) -> None:
    aside = folder.with_name(".spam.new") / "replaced"
    aside.mkdir(parents=True)
    folder.rename(aside / "0")
    with pytest.raises(KeyboardInterrupt), staged(folder):
        raise KeyboardInterrupt
    assert (folder / "service.toml").read_text() == "old"
    assert left(folder) == ["spam"]


def test_a_second_process_is_told_that_the_first_works(folder: Path) -> None:
    with make(folder) as process:
        with (
            pytest.raises(ServiceError, match=r"another process is making .*spam; wait until it has ended"),
            staged(folder),
        ):
            pass
        with staged(folder.with_name("ham")):
            pass
        process.communicate("")
    assert process.returncode == 0
    assert (folder / "service.toml").read_text() == "new"
    assert left(folder) == ["ham", "spam"]


def test_the_service_is_never_missing_while_it_is_replaced(folder: Path) -> None:
    reader, writer = os.pipe()
    watcher = os.fork()
    if watcher == 0:  # looks until it is ended; its status says whether the service was ever missing
        os.close(reader)
        os.write(writer, b"!")
        ended: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
        missing = False
        while not ended:
            missing = missing or not folder.exists()
        os._exit(int(missing))
    os.read(reader, 1)
    for _ in range(200):
        with staged(folder):
            pass
    os.kill(watcher, signal.SIGTERM)
    assert os.waitpid(watcher, 0)[1] == 0
    os.close(reader)
    os.close(writer)
