"""docs/reliability.md names tests that exist, where its commands run them."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ROWS = [line for line in (ROOT / "docs" / "reliability.md").read_text().splitlines() if re.search(r"`test_\w+`", line)]


def test_each_test_that_is_named_is_in_a_file_that_the_command_runs() -> None:
    assert len(ROWS) > 20
    missing, command = [], ""
    for row in ROWS:
        *_, tested, last = row.strip("| ").split(" | ")
        command = command if last == "the same" else last
        file = re.search(r"pytest (\S+\.py)", command)  # none: `make` runs a benchmark, the suite a short form of it
        files = [ROOT / file[1]] if file else [*(ROOT / "tests").rglob("test_*.py")]
        text = "".join(path.read_text() for path in files)
        missing += [name for name in re.findall(r"`(test_\w+)`", tested) if f"def {name}(" not in text]
    assert missing == []
