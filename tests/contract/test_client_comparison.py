"""What docs/clients.md shows of three clients does the same, in as many lines as it says."""

import json
import re
import subprocess
import sys

from conftest import DATA, ROOT
from trident.datasets import read_dataset
from trident.server.lifecycle import Server

TEXT = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
IMPORTS = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from pytriton.client import ModelClient
from trident_client import Client
from tritonclient.grpc import InferInput, InferenceServerClient
texts, found = json.load(sys.stdin), []
"""
KEEP = """
found.append([row.label if hasattr(row, "label") else row[0][0] for row in predictions])
"""


def test_the_examples_answer_the_same_in_as_many_lines_as_the_table_says(server: Server) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    (counts,) = re.findall(r"^\| classify 1,000 texts, in order \| (\d+) \| (\d+) \| (\d+) \|$", TEXT, re.MULTILINE)
    assert [len([line for line in block.splitlines() if line]) for block in blocks] == list(map(int, counts))
    code = IMPORTS + "".join(block + KEEP for block in blocks) + "print(json.dumps(found))\n"
    for said, here in (("8000", server.ports["http"]), ("8001", server.ports["grpc"]), ('"spam"', '"tiny"')):
        code = code.replace(said, str(here))
    dataset = read_dataset(DATA, text_column="text", label_column="label", skip_bad_rows=False)
    texts = [example.text for example in dataset.examples[:1000]]
    result = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(texts), capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    ours, raw, pytritons = json.loads(result.stdout.splitlines()[-1])
    assert len(ours) == 1000
    assert ours == raw == pytritons
    assert {"spam", "ham"} == set(ours)
