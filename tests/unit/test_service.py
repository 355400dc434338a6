"""A service folder is checked before anything is built from it; every refusal names the file and the key."""

from pathlib import Path
from typing import Any

import pytest
from trident.errors import ServiceError
from trident.service import Spec, check_name, load_service, parse_spec

HEAD = 'name = "spam"\ntask = "text-classification"\n'


def refusal(folder: Path, toml: str | bytes | None = None) -> str:
    if toml is not None:
        (folder / "service.toml").write_bytes(toml.encode() if isinstance(toml, str) else toml)
    with pytest.raises(ServiceError) as caught:
        load_service(folder)
    return str(caught.value)


def test_a_name_and_a_task_are_enough(service_folder: Path) -> None:
    service = load_service(service_folder)
    assert service.spec.model_dump() == {
        "name": "spam",
        "task": "text-classification",
        "description": "",
        "model": {"savedmodel": "model.savedmodel", "signature": "serving_default", "inputs": {}, "outputs": {}},
        "preprocess": {
            "tokenizer": "tokenizer.json",
            "max_length": 128,
            "lowercase": False,
            "clean": True,
            "padding": "longest",
            "truncation": "post",
            "pad_id": 0,
            "max_text_bytes": 1_048_576,
        },
        "postprocess": {"labels": "labels.txt", "activation": "softmax", "top_k": 1, "threshold": 0.0},
        "custom": {"preprocess": "", "postprocess": "", "requirements": []},
        "serving": {
            "max_batch_size": 64,
            "queue_delay_ms": 0.0,
            "max_queue_size": 512,
            "queue_timeout_ms": 0.0,
            "priority_levels": 0,
            "hang_timeout_s": 60.0,
            "model_instances": 1,
            "preprocess_instances": 1,
            "postprocess_instances": 1,
            "parallel_calls": 0,
            "threads": 0,
            "accelerator": "",
            "precision": "f32",
            "versions_kept": 2,
        },
    }


def test_files_are_found_beside_service_toml(service_folder: Path) -> None:
    service = load_service(service_folder)
    assert service.labels == ["ham", "spam"]
    assert service.savedmodel == service_folder / "model.savedmodel"
    assert service.tokenizer == service_folder / "tokenizer.json"


def test_files_may_have_other_names(service_folder: Path) -> None:
    (service_folder / "labels.txt").rename(service_folder / "klassen.txt")
    (service_folder / "service.toml").write_text(HEAD + '[postprocess]\nlabels = "klassen.txt"\n', encoding="utf-8")
    assert load_service(service_folder).labels == ["ham", "spam"]


def test_a_whole_number_will_do_for_milliseconds(service_folder: Path) -> None:
    (service_folder / "service.toml").write_text(HEAD + "[serving]\nqueue_delay_ms = 5\n", encoding="utf-8")
    assert load_service(service_folder).spec.serving.queue_delay_ms == 5.0


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ("[serving]\nqueue_delay = 1\n", "unknown key 'serving.queue_delay'; did you mean 'queue_delay_ms'?"),
        ("[postproces]\n", "unknown key 'postproces'; did you mean 'postprocess'?"),
        ("[model]\nzzz = 1\n", "unknown key 'model.zzz'; known are savedmodel, signature, inputs, outputs"),
        ("[postprocess]\ntop_k = 1.0\n", "postprocess.top_k is 1.0; input should be a valid integer"),
        ("[postprocess]\ntop_k = true\n", "postprocess.top_k is True; input should be a valid integer"),
        ("[postprocess]\ntop_k = '1'\n", "postprocess.top_k is '1'; input should be a valid integer"),
        ("[postprocess]\ntop_k = 0\n", "postprocess.top_k is 0; input should be greater than or equal to 1"),
        (
            "[postprocess]\nactivation = 1\n",
            "postprocess.activation is 1; input should be 'softmax', 'sigmoid' or 'none'",
        ),
        ("[postprocess]\nthreshold = true\n", "postprocess.threshold is True; input should be a valid number"),
        ("[postprocess]\nthreshold = 1.5\n", "postprocess.threshold is 1.5; input should be less than or equal to 1"),
        ("[postprocess]\nthreshold = nan\n", "postprocess.threshold is nan; input should be less than or equal to 1"),
        ("[preprocess]\nmax_length = 0\n", "preprocess.max_length is 0; input should be greater than or equal to 1"),
        (
            "[preprocess]\nmax_length = 8193\n",
            "preprocess.max_length is 8193; input should be less than or equal to 8192",
        ),
        (
            "[serving]\nmax_batch_size = 4097\n",
            "serving.max_batch_size is 4097; input should be less than or equal to 4096",
        ),
        ("[serving]\nthreads = -1\n", "serving.threads is -1; input should be greater than or equal to 0"),
        ("[serving]\naccelerator = 'tpu'\n", "serving.accelerator is 'tpu'; input should be '', 'openvino' or 'xla'"),
        ("[serving]\nprecision = 'int8'\n", "serving.precision is 'int8'; input should be 'f32' or 'bf16'"),
        ("serving = 3\n", "serving is 3; input should be a valid dictionary or instance of Serving"),
    ],
)
def test_a_wrong_key_or_value_is_named(service_folder: Path, toml: str, fault: str) -> None:
    assert refusal(service_folder, HEAD + toml) == f"{service_folder / 'service.toml'}: {fault}"


def test_a_stage_of_ones_own_replaces_the_tasks_settings(service_folder: Path) -> None:
    toml = 'name = "x"\ntask = "image-classification"\n[custom]\npreprocess = "mine.py"\n'
    (service_folder / "mine.py").touch()
    (service_folder / "service.toml").write_text(toml)
    assert load_service(service_folder).spec.preprocess.model_dump() == {}
    fault = refusal(service_folder, toml + "[preprocess]\nheight = 8\n")
    assert fault.endswith("unknown key 'preprocess.height'; there is nothing to set")
    fault = refusal(service_folder, toml.replace('preprocess = "mine.py"', ""))
    assert fault.endswith("key 'preprocess' is missing")


@pytest.mark.parametrize("strange", ["a\x00b", "\x1b[31mred", "a\u2028b", "\u202ebackwards", "a\tb"])
def test_a_label_that_does_something_to_a_terminal_is_refused(service_folder: Path, strange: str) -> None:
    (service_folder / "labels.txt").write_text(f"ham\n{strange}\n", encoding="utf-8")
    assert f"has {strange!r}, with a control character in it" in refusal(service_folder)
    (service_folder / "labels.txt").write_text("Käse 🧀\n👩‍👧 family\n", encoding="utf-8")
    assert load_service(service_folder).labels == ["Käse 🧀", "👩‍👧 family"]


@pytest.mark.parametrize("key", ["mean", "scale"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_value_must_stay_finite(service_folder: Path, key: str, value: str) -> None:
    toml = HEAD.replace("text-classification", "tabular") + f"[postprocess]\n{key} = {value}\n"
    assert refusal(service_folder, toml).endswith(f"postprocess.{key} is {value}; input should be a finite number")


@pytest.mark.parametrize("key", ["queue_delay_ms", "queue_timeout_ms"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e30"])
def test_a_duration_that_triton_cannot_take_is_refused(service_folder: Path, key: str, value: str) -> None:
    """config.pbtxt has microseconds as uint64."""
    assert f"serving.{key} is {float(value)!r}; " in refusal(service_folder, HEAD + f"[serving]\n{key} = {value}\n")


@pytest.mark.parametrize("key", ["max_queue_size", "versions_kept", "model_instances", "preprocess_instances"])
def test_a_count_that_triton_cannot_take_is_refused(service_folder: Path, key: str) -> None:
    """config.pbtxt has them as 32 bits."""
    toml = HEAD + f"[serving]\n{key} = 5000000000\n"
    assert f"serving.{key} is 5000000000; " in refusal(service_folder, toml)


def test_all_faults_are_told_at_once(service_folder: Path) -> None:
    message = refusal(service_folder, 'task = "text-classification"\n[serving]\nthreads = -1\n')
    path = service_folder / "service.toml"
    threads = "serving.threads is -1; input should be greater than or equal to 0"
    assert message == f"{path}: key 'name' is missing; {threads}"
    message = refusal(service_folder, 'name = "spam"\n')
    assert message.startswith(f"{path}: key 'task' is missing; expected one of text-classification, ")


def test_another_task_is_refused(service_folder: Path) -> None:
    message = refusal(service_folder, 'name = "spam"\ntask = "poetry"\n')
    assert "task is 'poetry'; expected one of text-classification, text-embedding," in message


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        ("name = ?\n", "Unexpected character: '?' at line 1 col 7"),
        (HEAD + 'name = "again"\n', 'Key "name" already exists. at line 3 col 0'),
        (b'name = "sp\xe4m"\n', "'utf-8' codec can't decode byte 0xe4 in position 10: invalid continuation byte"),
    ],
    ids=["syntax", "twice", "latin-1"],
)
def test_what_is_not_toml_is_refused_with_the_place(service_folder: Path, toml: str | bytes, reason: str) -> None:
    assert refusal(service_folder, toml) == f"{service_folder / 'service.toml'} is not TOML: {reason}"


def test_a_folder_without_service_toml_is_no_service(service_folder: Path) -> None:
    (service_folder / "service.toml").unlink()
    remedy = "`trident train FILE --name NAME` or `trident import` writes a service folder"
    assert refusal(service_folder) == f"no service.toml in {service_folder}; {remedy}"


@pytest.mark.parametrize(
    ("lacking", "key", "named"),
    [
        ("model.savedmodel/saved_model.pb", "model.savedmodel", "model.savedmodel"),
        ("tokenizer.json", "preprocess.tokenizer", "tokenizer.json"),
    ],
)
def test_a_missing_file_is_named_with_its_key(service_folder: Path, lacking: str, key: str, named: str) -> None:
    (service_folder / lacking).unlink()
    expected = f"{key} names {service_folder / named}, which does not exist; train or import again, or correct the key"
    assert refusal(service_folder) == f"{service_folder / 'service.toml'}: {expected}"


def test_missing_labels_are_asked_for(service_folder: Path) -> None:
    (service_folder / "labels.txt").unlink()
    expected = "write one label a line, in the order of the model's outputs"
    assert refusal(service_folder) == f"no labels file {service_folder / 'labels.txt'}; {expected}"


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        ("ham\nspam\nham\n", "['ham'] more than once"),
        ("ham\n\nspam\n", "an empty line 2"),
        ("", "an empty line 1"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(service_folder: Path, labels: str, fault: str) -> None:
    path = service_folder / "labels.txt"
    path.write_text(labels, encoding="utf-8")
    assert refusal(service_folder) == f"{path} has {fault}; expected one label a line, each once"


@pytest.mark.parametrize("content", ["ham\nspam", "ham\nspam\n", "ham\nspam\n\n", "ham\r\nspam\r\n"])
def test_line_breaks_at_the_end_of_the_labels_do_not_matter(service_folder: Path, content: str) -> None:
    (service_folder / "labels.txt").write_bytes(content.encode())
    assert load_service(service_folder).labels == ["ham", "spam"]


def test_labels_that_are_not_utf8_are_refused(service_folder: Path) -> None:
    (service_folder / "labels.txt").write_bytes(b"ham\nsp\xe4m\n")
    assert str(service_folder / "labels.txt") in refusal(service_folder)


@pytest.mark.parametrize("name", ["spam", "Spam-2.1", "7", "a" * 64, "my_models"])
def test_names_that_triton_and_urls_take(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "a b", ".spam", "_spam", "..", "spam\n", "spåm", "a" * 65])
def test_names_that_a_url_or_folder_cannot_take_are_refused(name: str) -> None:
    with pytest.raises(ServiceError) as caught:
        check_name(name)
    allowed = "letters, digits, '_', '-' and '.', the first a letter or digit, 64 at most"
    assert str(caught.value) == f"service name '{name}' cannot name a Triton model; use {allowed}"


@pytest.mark.parametrize("step", ["preprocess", "model", "postprocess"])
def test_a_name_like_that_of_a_step_is_refused(service_folder: Path, step: str) -> None:
    message = refusal(service_folder, f'name = "my_{step}"\ntask = "text-classification"\n')
    assert message == f"service name 'my_{step}' ends in '_{step}', which names a model inside a service; rename it"


@pytest.mark.parametrize(("name", "shown"), [('"a/b"', "'a/b'"), ("3", "3")])
def test_a_bad_name_in_service_toml_says_what_is_allowed(service_folder: Path, name: str, shown: str) -> None:
    message = refusal(service_folder, f'name = {name}\ntask = "text-classification"\n')
    expected = f"name is {shown}; use letters, digits, '_', '-' and '.', the first a letter or digit"
    assert message == f"{service_folder / 'service.toml'}: {expected}"


@pytest.mark.parametrize("values", [{"name": "other"}, {"serving": None}])
def test_a_spec_cannot_be_changed_after_it_was_checked(values: dict[str, Any]) -> None:
    spec = Spec(name="spam", task="text-classification")
    for key, value in values.items():
        with pytest.raises(ValueError, match="frozen"):
            setattr(spec, key, value)


def test_only_a_service_without_a_stage_before_its_model_has_no_limit_unless_told() -> None:
    assert parse_spec({"name": "a", "task": "tensors", "serving": {"threads": 1}}).serving.max_queue_size == 0
    assert parse_spec({"name": "a", "task": "tensors", "serving": {"max_queue_size": 7}}).serving.max_queue_size == 7
    assert parse_spec({"name": "a", "task": "tabular", "serving": {"threads": 1}}).serving.max_queue_size == 512


def test_settings_for_serving_can_differ_from_those_in_the_file(service_folder: Path) -> None:
    service = load_service(service_folder)
    other = service.with_serving({"model_instances": 3, "accelerator": "xla"})
    assert (other.spec.serving.model_instances, other.spec.serving.accelerator) == (3, "xla")
    assert other.spec.serving.max_batch_size == service.spec.serving.max_batch_size
    assert service.spec.serving.model_instances == 1
    with pytest.raises(ValueError, match="model_instances"):
        service.with_serving({"model_instances": 0})
