"""service.toml is changed where it must be; its owner's comments, order and other keys stay."""

import os
import stat
from pathlib import Path

import pytest
from trident.errors import ServiceError
from trident.service import load_spec
from trident.service_edit import set_serving

OWN = """\
# mine
name = "spam"   # the filter
task = "text-classification"

[serving]       # for two cores
threads = 1     # hand-picked
# kept for a month
versions_kept = 5
[postprocess]
top_k = 2
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "service.toml"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_comments_order_and_other_keys_stay(toml: Path) -> None:
    set_serving(toml, {"threads": 0, "accelerator": "openvino", "queue_delay_ms": 1.5})
    new = ("accelerator =", "queue_delay_ms =")
    left = [line for line in toml.read_text(encoding="utf-8").splitlines() if line and not line.startswith(new)]
    assert left == [line for line in OWN.replace("threads = 1", "threads = 0").splitlines() if line]
    serving = load_spec(toml.parent).serving
    assert (serving.threads, serving.accelerator, serving.queue_delay_ms) == (0, "openvino", 1.5)
    assert serving.versions_kept == 5


def test_a_table_that_is_missing_or_written_in_braces(toml: Path) -> None:
    head = 'name = "spam"\ntask = "text-classification"\n'
    for text in (head, head + "serving = {threads = 4}\n", head + "serving.threads = 4\n"):
        toml.write_text(text, encoding="utf-8")
        set_serving(toml, {"model_instances": 2})
        assert load_spec(toml.parent).serving.model_instances == 2
        assert toml.read_text(encoding="utf-8").startswith(head)


def test_the_file_keeps_its_rights_and_a_link_its_target(toml: Path, tmp_path: Path) -> None:
    toml.chmod(0o640)
    link = tmp_path / "folder" / "service.toml"
    link.parent.mkdir()
    link.symlink_to(toml)
    set_serving(link, {"threads": 2})
    assert link.is_symlink()
    assert stat.S_IMODE(toml.stat().st_mode) == 0o640
    assert "threads = 2" in toml.read_text(encoding="utf-8")


def test_a_failure_leaves_the_file_as_it_was(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServiceError, match=r"serving\.threads"):
        set_serving(toml, {"threads": -1})

    def interrupted(*paths: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        set_serving(toml, {"threads": 2})
    assert toml.read_text(encoding="utf-8") == OWN
    assert [path.name for path in toml.parent.iterdir()] == ["service.toml"]
