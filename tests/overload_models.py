"""Ensembles whose capacity is known: a stage with a gate, and behind it a model that sleeps."""

from pathlib import Path

MODELS = Path(__file__).parent / "models"
STAGES = Path(__file__).parents[1] / "ensemble" / "trident" / "stages"
PRIORITIES = "priority_levels: 2 default_priority_level: 2"
TENSORS = """
max_batch_size: BATCH
input { name: "x" data_type: TYPE_STRING dims: 1 }
output { name: "y" data_type: TYPE_STRING dims: 1 }
"""
STEPS = """
ensemble_scheduling {
  step { model_name: "door" model_version: -1 input_map { key: "x" value: "x" } output_map { key: "y" value: "m" } }
  step { model_name: "BEHIND" model_version: -1 input_map { key: "x" value: "m" } output_map { key: "y" value: "y" } }
}
"""
RUN = """
class InvalidInput(Exception):
    pass


def run(x):
    return {"y": x}
"""


def write_guarded(repository: Path, limit: int, delay_s: float, batch: int) -> None:
    """Write `guarded`, x → y BYTES [B, 1], which lets `limit` requests wait and answers `batch` in `delay_s` seconds.

    `ranked` is the same, five times as slow, and has two levels of priority.
    """
    stage = {name: (STAGES / name).read_text() for name in ("model.py", "gate.py")}
    stage |= {"stage.py": (STAGES / "custom" / "stage.py").read_text(), "user_stage.py": RUN}
    door = "\n".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
        for key, value in (("MAX_WAITING", limit), ("WAITING_FOR", "behind"))
    )
    tensors = TENSORS.replace("BATCH", str(batch))
    _add(repository, "door", _python(tensors) + door, stage)
    for name, behind, seconds, options in (
        ("guarded", "behind", delay_s, ""),
        ("ranked", "ranked_behind", 5 * delay_s, PRIORITIES),
    ):
        sleeping = (MODELS / "slow" / "1" / "model.py").read_text().replace("DELAY_S = 2.0", f"DELAY_S = {seconds}")
        _add(repository, behind, _python(tensors) + f"dynamic_batching {{ {options} }}\n", {"model.py": sleeping})
        _add(repository, name, f'platform: "ensemble"\n{tensors}{STEPS.replace("BEHIND", behind)}', {})


def _python(tensors: str) -> str:
    return f'backend: "python"\n{tensors}instance_group {{ kind: KIND_CPU count: 1 }}\n'


def _add(repository: Path, name: str, config: str, files: dict[str, str]) -> None:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder.parent / "config.pbtxt").write_text(f'name: "{name}"\n{config}', encoding="utf-8")
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
