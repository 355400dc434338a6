"""`trident bench` with the real perf_analyzer."""

import json
from pathlib import Path

import pytest
from conftest import DATA, RunTrident
from trident.server.lifecycle import Server

STEPS = ["tiny_preprocess", "tiny_model", "tiny_postprocess"]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_service_is_measured(trident: RunTrident, server: Server, tmp_path: Path, protocol: str) -> None:
    url = server.http_url if protocol == "http" else server.grpc_url
    picture = tmp_path / "tiny.png"
    options = ["--concurrency", "1,4", "--seconds", "1.5", "--url", url, "--json", "--picture", picture]
    result = trident("bench", "tiny", "--texts", DATA, *options)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert [point["concurrency"] for point in found["points"]] == [1, 4]
    for point in found["points"]:
        assert point["throughput"] > 0
        assert 0 < point["p50_ms"] <= point["p95_ms"] <= point["p99_ms"]
        assert sorted(model["name"] for model in point["models"]) == sorted(STEPS)
        assert all(model["compute_ms"] > 0 and 1 <= model["rows"] <= 4 for model in point["models"])
    assert found["machine"]["cores"] > 0
    assert {"tritonserver", "perf_analyzer", "tensorflow", "trident-serving"} <= set(found["versions"])
    assert "trident bench tiny" in found["command"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_other_services_get_perf_analyzers_own_file(trident: RunTrident, server: Server, tmp_path: Path) -> None:
    data = tmp_path / "ids.json"
    data.write_text(json.dumps({"data": [{"input_ids": {"content": [1, 2, 3], "shape": [3]}}]}))
    options = ["--concurrency", "2", "--seconds", "1.5", "--url", server.http_url]
    result = trident("bench", "tiny_model", "--input-data", data, *options)
    assert result.returncode == 0, result.stderr
    loads, _, models = result.stdout.partition("in each model")
    assert "requests/s" in loads
    assert "tiny_model" in models
    refused = trident("bench", "tiny_model", "--texts", DATA, *options)
    (line,) = refused.stderr.splitlines()
    assert (refused.returncode, "takes input_ids INT32" in line, "--input-data" in line) == (1, True, True)
