"""How the two processes share the tests: in parts whose tests have something in common that takes long to make.

A part is a file, or several that use one server or one run of `make demo`; the longest parts begin first.
"""

import re
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

# Longest first; what fits none is a part of its own, file by file, in the end.
PARTS = {
    "project": r"e2e/test_(demo|readme)\.py",
    "server": r"contract/test_(bad_input|cli|client|commands|connections|fuzzing|import|server|service)\.py",
    "backend": r"contract/test_backend(_openvino|_options|_parity)?\.py",
    "imported": r"e2e/test_import\.py",
    "others": r"(e2e|contract)/test_(?P<name>\w+)\.py",
}


def part_of(nodeid: str) -> str:
    """The part that a test belongs to."""
    file = nodeid.split("::", 1)[0]
    for name, pattern in PARTS.items():
        if re.search(pattern, file):
            return file if name == "others" else name
    return file


def longest_first(items: list[pytest.Item]) -> None:
    """Sort tests so that long parts come first; the order within a part stays."""
    patterns = list(PARTS.values())

    def rank(item: pytest.Item) -> int:
        found = (number for number, pattern in enumerate(patterns) if re.search(pattern, item.nodeid))
        return next(found, len(patterns))

    items.sort(key=rank)


class PartScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a process part after part."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # parts with many tests are not those that take long

    def _split_scope(self, nodeid: str) -> str:
        return part_of(nodeid)
