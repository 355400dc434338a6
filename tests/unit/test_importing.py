"""What import finds out of a signature, compares, and refuses, without loading a model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from protobuf_savedmodel import TEXT_INPUTS, write_savedmodel
from trident import roles
from trident.custom_stages import TEMPLATE, check_requirements, new_stage, read_custom
from trident.drafting import draft
from trident.errors import ServiceError
from trident.importing import ImportOptions, _difference, import_model
from trident.keras_models import _means_otherwise
from trident.model_files import ModelFile
from trident.pipeline import design
from trident.probing import specimen
from trident.samples import read_sample
from trident.savedmodel import ModelTensors, read_tensors
from trident.service import Spec, TextEmbedding, load_service, load_spec, write_spec


def tensors(
    folder: Path, inputs: dict[str, list[int]], outputs: dict[str, list[int]], kind: str = "INT32"
) -> ModelTensors:
    path = write_savedmodel(
        folder / "model.savedmodel",
        {name: (kind, shape) for name, shape in inputs.items()},
        {name: ("FP32", shape) for name, shape in outputs.items()},
    )
    return read_tensors(path, "serving_default", 8)


# -- which tensor plays which part ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["x"], {"input_ids": "x"}),
        (["token_ids", "padding_mask"], {"input_ids": "token_ids", "attention_mask": "padding_mask"}),
        (
            ["input_word_ids", "input_mask", "input_type_ids"],
            {"input_ids": "input_word_ids", "attention_mask": "input_mask", "token_type_ids": "input_type_ids"},
        ),
    ],
)
def test_token_tensors_are_told_apart_by_name(tmp_path: Path, names: list[str], parts: dict[str, str]) -> None:
    found = roles.text_inputs(tensors(tmp_path, {name: [-1, -1] for name in names}, {"y": [-1, 2]}))
    assert found == parts


def test_token_tensors_that_cannot_be_told_apart_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(
        ServiceError, match=r"takes \['a', 'b'\], which cannot be told apart; say .* --input input_ids="
    ):
        roles.text_inputs(tensors(tmp_path, {"a": [-1, -1], "b": [-1, -1]}, {"y": [-1, 2]}))


def test_a_string_input_takes_the_text_itself(tmp_path: Path) -> None:
    assert roles.text_inputs(tensors(tmp_path, {"x": [-1]}, {"y": [-1, 2]}, kind="STRING")) == {"cleaned": "x"}


def test_of_several_outputs_the_one_named_like_its_part_is_taken(tmp_path: Path) -> None:
    model = tensors(tmp_path, {"x": [-1, 3]}, {"probs": [-1, 2], "hidden": [-1, 9]})
    assert roles.output(model, "logits") == {"logits": "probs"}
    with pytest.raises(ServiceError, match=r"gives \['hidden', 'probs'\]; say which to take with --output output=NAME"):
        roles.output(model, "output")


def test_token_states_and_vectors_are_told_apart_by_rank(tmp_path: Path) -> None:
    states = tensors(tmp_path / "a", {"x": [-1, -1]}, {"y": [-1, -1, 8]})
    vector = tensors(tmp_path / "b", {"x": [-1, -1]}, {"y": [-1, 8]})
    both = tensors(tmp_path / "c", {"x": [-1, -1]}, {"last_hidden_state": [-1, -1, 8], "other": [-1, 8]})
    assert roles.embedding_output(states) == {"states": "y"}
    assert roles.embedding_output(vector) == {"vector": "y"}
    assert roles.embedding_output(both) == {"states": "last_hidden_state"}


def test_of_states_and_a_vector_the_states_are_taken_if_a_pooling_was_told(tmp_path: Path) -> None:
    """As of BERT on TensorFlow Hub; its vector is pooled already."""
    bert = tensors(tmp_path, {"x": [-1, -1]}, {"sequence_output": [-1, -1, 8], "pooled_output": [-1, 8]})
    assert roles.embedding_output(bert) == {"vector": "pooled_output"}
    assert roles.embedding_output(bert, pools=True) == {"states": "sequence_output"}


@pytest.mark.parametrize(
    ("scores", "operation", "activation"),
    [
        ([[0.2, 0.8]], "", "none"),
        ([[0.9, 0.8]], "", "none"),
        ([[-1.0, 3.0]], "", "softmax"),
        ([[-1.0]], "", "sigmoid"),
        ([[0.4]], "", "none"),
        ([[1.0, 0.0, 0.0]], "", "none"),
        ([[0.9, 0.0]], "", "softmax"),
        ([[0.9], [0.0]], "", "sigmoid"),
        ([[0.4]], "AddV2", "sigmoid"),
        ([[0.4, 0.5]], "BiasAdd", "softmax"),
        ([[0.4, 0.6]], "AddV2", "none"),
        ([[1.0], [0.0]], "Sigmoid", "none"),
        ([[1.0, 0.0]], "Softmax", "none"),
    ],
)
def test_what_is_still_to_be_done_to_scores(scores: list[list[float]], operation: str, activation: str) -> None:
    array = np.array(scores, np.float32)
    assert roles.activation(array, operation, multi_label=False) == activation
    assert roles.activation(array, operation, multi_label=True) == activation.replace("softmax", "sigmoid")


# -- comparison -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "found", "difference"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([0.5], [0.75], 0.25),
        ([100.0], [101.0], 0.01),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.nan], [1.0], np.inf),
        ([np.inf], [np.inf], 0.0),
        ([np.inf], [1.0], np.inf),
        ([1.0], [1.0, 1.0], np.inf),
        ([b"a"], [b"a"], 0.0),
        ([b"a"], [b"b"], np.inf),
    ],
)
def test_the_difference_of_two_answers(expected: list[Any], found: list[Any], difference: float) -> None:
    kind = object if isinstance(expected[0], bytes) else np.float32
    assert _difference(np.array(expected, kind), np.array(found, kind)) == pytest.approx(difference)


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        *(("input_ids", kind) for kind in ("INT32", "INT64", "FP32")),
        ("pixels", "FP32"),
        *(("x", kind) for kind in ("INT32", "FP32", "BOOL", "STRING")),
    ],
)
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (3, 5), (8, 32)])
def test_made_up_inputs_suit_the_signature_and_are_never_all_zero(
    tmp_path: Path, part: str, kind: str, rows: int, length: int
) -> None:
    model = tensors(tmp_path, {"x": [-1, -1]}, {"y": [-1, 2]}, kind)
    arrays = specimen(model, {part: "x"}, 7, rows, length, np.random.default_rng(0))
    assert arrays["x"].shape == (rows, length)
    if kind == "STRING":
        assert all(isinstance(text, bytes) and text for text in arrays["x"].flat)
        return
    assert arrays["x"].any()
    if part == "input_ids":
        assert arrays["x"].min() >= 1
        assert arrays["x"].max() == 6


# -- refusals before anything is loaded -----------------------------------------------------------------------------


def test_a_folder_that_is_no_service_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "services" / "mine").mkdir(parents=True)
    (tmp_path / "services" / "mine" / "diary.txt").write_text("dear diary")
    model = write_savedmodel(tmp_path / "m", {"x": ("FP32", [-1, 2])}, {"y": ("FP32", [-1, 2])})
    with pytest.raises(ServiceError, match="exists and is no service folder"):
        import_model(model, "mine", tmp_path / "services", ImportOptions("tensors"))
    assert (tmp_path / "services" / "mine" / "diary.txt").read_text() == "dear diary"


def test_what_is_no_model_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ServiceError, match="pickle"):
        import_model(tmp_path / "model.keras", "mine", tmp_path / "services", ImportOptions("tensors"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.parametrize(
    ("folder", "model", "services"), [("m", ".", "services"), ("m", ".", "."), (".", "m", "link/services")]
)
def test_a_savedmodel_is_not_copied_into_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, model: str, services: str
) -> None:
    written = write_savedmodel(tmp_path / "m", {"x": ("FP32", [-1, 2])}, {"y": ("FP32", [-1, 2])})
    (written / "variables" / "variables.data-00000-of-00001").write_bytes(b"data")
    (tmp_path / "link").symlink_to(written)
    before = sorted(written.rglob("*"))
    monkeypatch.chdir(tmp_path / folder)
    with pytest.raises(ServiceError) as caught:
        import_model(Path(model), "mine", Path(services), ImportOptions("tensors"))
    assert str(caught.value) == (
        f"the service folders of {services} would lie in the SavedModel {model} itself; run trident in another "
        "folder, or name one with --services"
    )
    assert sorted(written.rglob("*")) == before


@pytest.mark.parametrize(
    ("task", "given", "fault"),
    [
        ("tensors", {"labels": Path("my.txt")}, "the task 'tensors' has no use for --labels my.txt; leave it out"),
        ("text-embedding", {"labels": Path("my.txt")}, "the task 'text-embedding' has no use for --labels my.txt"),
        ("image-classification", {"tokenizer": Path("t.json")}, "has no use for --tokenizer t.json; leave it out"),
        ("text-classification", {"features": Path("f.json")}, "has no use for --features f.json; leave it out"),
        ("token-classification", {"multi_label": True}, "has no use for --multi-label; leave it out"),
        (
            "text-classification",
            {"tokenizer": Path("t.json"), "stages": {"preprocess": Path("my.py")}},
            "--preprocess my.py takes the place of what --tokenizer t.json is for; leave one out",
        ),
        *(
            (
                "tabular",
                given,
                f"without --labels the service answers a value, which has no use for {option}; leave it out",
            )
            for given, option in (
                ({"postprocess": {"activation": "softmax"}}, "--activation softmax"),
                ({"postprocess": {"top_k": 2}}, "--top-k 2"),
                ({"postprocess": {"threshold": 0.5}}, "--threshold 0.5"),
                ({"multi_label": True}, "--multi-label"),
            )
        ),
        ("tensors", {"requirements": ("numpy",)}, "--requirement numpy is for stages of your own, and there is none"),
        ("poetry", {}, "task is 'poetry'; expected one of text-classification, "),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    tmp_path: Path, task: str, given: dict[str, Any], fault: str
) -> None:
    model = write_savedmodel(tmp_path / "m", {"x": ("FP32", [-1, 2])}, {"y": ("FP32", [-1, 2])})
    with pytest.raises(ServiceError) as refusal:
        import_model(model, "mine", tmp_path / "services", ImportOptions(task, **given))
    assert fault in str(refusal.value)
    assert not (tmp_path / "services").exists()


def drafted(folder: Path, options: ImportOptions, former: Spec | None = None) -> Spec:
    """What is written of a service whose model lies in the folder and need not be called."""
    draft(folder, former, options, lambda arrays: pytest.fail("the model was called"))
    return load_service(folder).spec


@pytest.mark.parametrize(
    ("told", "option"),
    [
        ({"max_length": 64}, "--max-length 64"),
        ({"padding": "post"}, "--padding post"),
        ({"truncation": "pre"}, "--truncation pre"),
        ({"lowercase": True}, "--lowercase"),
        ({"lowercase": False}, "--no-lowercase"),
    ],
)
def test_what_is_done_to_token_ids_is_refused_for_a_model_that_takes_text(
    service_folder: Path, told: dict[str, Any], option: str
) -> None:
    write_savedmodel(service_folder / "model.savedmodel", {"x": ("STRING", [-1])}, {"vector": ("FP32", [-1, 2])})
    with pytest.raises(ServiceError) as caught:
        drafted(service_folder, ImportOptions("text-embedding", preprocess=told))
    assert str(caught.value) == f"the model takes text itself; leave out {option}"


def test_lowercase_is_said_of_a_vocab_txt_and_goes_into_its_tokenizer(service_folder: Path, tmp_path: Path) -> None:
    write_savedmodel(service_folder / "model.savedmodel", TEXT_INPUTS, {"vector": ("FP32", [-1, 2])})
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\nFree\n")
    told = {"lowercase": True}
    spec = drafted(service_folder, ImportOptions("text-embedding", tokenizer=tmp_path / "vocab.txt", preprocess=told))
    assert json.loads((service_folder / "tokenizer.json").read_text())["normalizer"]["lowercase"] is True
    assert isinstance(spec, TextEmbedding)
    assert spec.preprocess.lowercase is False
    design(load_service(service_folder))
    path = service_folder / "tokenizer.json"
    with pytest.raises(ServiceError) as caught:
        drafted(service_folder, ImportOptions("text-embedding", tokenizer=path, preprocess=told))
    assert str(caught.value) == f"{path} says itself what becomes of upper case; leave out --lowercase"


@pytest.mark.parametrize("outputs", [{}, {"vector": "pooled_output"}])
def test_a_pooling_is_refused_where_there_is_nothing_to_pool(service_folder: Path, outputs: dict[str, str]) -> None:
    write_savedmodel(service_folder / "model.savedmodel", TEXT_INPUTS, {"pooled_output": ("FP32", [-1, 2])})
    tokenizer = service_folder / "tokenizer.json"
    options = ImportOptions("text-embedding", tokenizer, outputs=outputs, postprocess={"pooling": "mean"})
    with pytest.raises(ServiceError, match=r"^--pooling mean makes one vector .* 'pooled_output' is one already; "):
        drafted(service_folder, options)


# -- what is kept of the service that stood there -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "kept"),
    [("", (0, 512)), ("max_queue_size = 7\nmax_batch_size = 8\n", (7, 7))],
    ids=["defaults", "told"],
)
def test_another_task_has_its_own_queue_limit_unless_one_was_told(
    service_folder: Path, told: str, kept: tuple[int, int]
) -> None:
    """From texts to tensors and back; service.toml names all values, those that nobody chose, too."""
    texts = ImportOptions("text-embedding", service_folder / "tokenizer.json")
    toml = service_folder / "service.toml"
    toml.write_text(toml.read_text() + f"[serving]\nthreads = 3\n{told}")
    write_spec(load_spec(service_folder), service_folder)
    tensors = drafted(service_folder, ImportOptions("tensors"), load_spec(service_folder))
    write_savedmodel(service_folder / "model.savedmodel", TEXT_INPUTS, {"vector": ("FP32", [-1, 2])})
    again = drafted(service_folder, texts, tensors)
    assert (tensors.serving.max_queue_size, again.serving.max_queue_size) == kept
    assert tensors.serving.threads == again.serving.threads == 3
    assert tensors.serving.max_batch_size == again.serving.max_batch_size == (8 if told else 64)


# -- stages of the user's own ---------------------------------------------------------------------------------------

DECLARED = 'INPUTS = {"x": ("FP32", [1])}\nOUTPUTS = {"y": ("FP32", [-1])}\n'
STAGE = f"{DECLARED}class InvalidInput(Exception): ...\ndef run(x): ...\n"


def test_the_template_declares_its_tensors_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "stages" / "mine.py"
    new_stage(path)
    assert path.read_bytes() == TEMPLATE.read_bytes()
    declared = read_custom(path)
    assert [(tensor.name, tensor.data_type, tensor.dims) for tensor in declared["INPUTS"]] == [
        ("text", "TYPE_STRING", (1,))
    ]
    with pytest.raises(ServiceError, match="exists; choose another name"):
        new_stage(path)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("x = 1\n", "has no INPUTS and no OUTPUTS"),
        ("INPUTS = {}\nOUTPUTS = make()\n", "INPUTS is empty; expected at least one tensor"),
        ('INPUTS = {"x": ("FP32", [1])}\nOUTPUTS = make()\n', "must be written out as"),
        ("INPUTS = [1]\nOUTPUTS = {}\n", "must be written out as"),
        ("INPUTS = {\n", "is not Python"),
        ("INPUTS = '\0'\n", "is not Python"),
        ('INPUTS = {"x": ("INT99", [1])}\nOUTPUTS = {}\n', "'x' is INT99; expected BOOL, FP16"),
        ('INPUTS = {1: ("FP32", [1])}\n', "INPUTS names a tensor 1; expected a name"),
        ('INPUTS = {"": ("FP32", [1])}\n', "INPUTS names a tensor ''; expected a name"),
        *(
            (f'INPUTS = {{"x": ("FP32", {dims})}}\n', "'x' has the dims .*; expected whole numbers ≥ 1, or -1")
            for dims in ("[]", "[0]", "[-2]", "[2.0]", "[True]", "'ab'", "[2147483648]")
        ),
        (f"{DECLARED}class InvalidInput(Exception): ...\n", "has no run; see what"),
        (f"{DECLARED}def run(x): ...\n", "has no InvalidInput; see what"),
        (f"import no_such_package_here\n{STAGE}", "imports 'no_such_package_here', which is not"),
        (f"from .other import thing\n{STAGE}", "imports a file beside it, which is not served"),
    ],
)
def test_a_stage_that_does_not_say_its_tensors_is_refused(tmp_path: Path, code: str, fault: str) -> None:
    (tmp_path / "stage.py").write_text(code)
    with pytest.raises(ServiceError, match=fault):
        read_custom(tmp_path / "stage.py")


@pytest.mark.parametrize(
    "start", ["", "\ufeff", "try:\n    import no_such_package_here\nexcept ImportError:\n    pass\n"]
)
def test_a_stage_is_read_and_not_run(tmp_path: Path, start: str) -> None:
    (tmp_path / "stage.py").write_text(f"{start}{STAGE}raise SystemExit(9)\n", encoding="utf-8")
    assert read_custom(tmp_path / "stage.py")["INPUTS"][0].name == "x"


@pytest.mark.parametrize(
    ("requirement", "fault"),
    [("no-such-package-here", "is not installed"), ("numpy>999", "is installed as 1"), ("???", "cannot be read")],
)
def test_requirements_must_be_installed(requirement: str, fault: str) -> None:
    check_requirements(["numpy", "numpy>=1.20"])
    with pytest.raises(ServiceError, match=fault):
        check_requirements(["numpy", requirement])


# -- what cannot be served ------------------------------------------------------------------------------------------


def refusal(folder: Path, toml: str) -> str:
    (folder / "service.toml").write_text('name = "spam"\n' + toml)
    with pytest.raises(ServiceError) as caught:
        design(load_service(folder))
    return str(caught.value)


def test_two_tensors_of_one_name_are_refused(service_folder: Path) -> None:
    write_savedmodel(service_folder / "model.savedmodel", {"x": ("FP32", [-1, 2])}, {"x": ("FP32", [-1, 2])})
    assert "['x'] name more than one tensor of the service" in refusal(service_folder, 'task = "tensors"\n')
    write_savedmodel(service_folder / "model.savedmodel", {"features": ("FP32", [-1, 1])}, {"y": ("FP32", [-1, 1])})
    (service_folder / "features.json").write_text('{"columns": [{"name": "value", "type": "number"}]}')
    toml = 'task = "tabular"\n[model.inputs]\nfeatures = "features"\n[model.outputs]\noutput = "y"\n'
    assert "['value'] name more than one tensor of the service" in refusal(service_folder, toml)


def test_a_keras_tokenizer_cannot_tell_where_tokens_stand(service_folder: Path) -> None:
    write_savedmodel(service_folder / "model.savedmodel", TEXT_INPUTS, {"logits": ("FP32", [-1, -1, 2])})
    config = {"num_words": None, "filters": "", "lower": True, "split": " ", "char_level": False, "oov_token": None}
    document = {"class_name": "Tokenizer", "config": config | {"word_index": '{"free": 1}'}}
    (service_folder / "keras_tokenizer.json").write_text(json.dumps(document))
    toml = 'task = "token-classification"\n[preprocess]\ntokenizer = "keras_tokenizer.json"\n'
    assert "does not tell where tokens stand" in refusal(service_folder, toml)


def test_where_tokens_stand_is_told_of_the_text_as_it_came(service_folder: Path) -> None:
    write_savedmodel(service_folder / "model.savedmodel", TEXT_INPUTS, {"logits": ("FP32", [-1, -1, 2])})
    toml = 'task = "token-classification"\n[preprocess]\nmax_length = 64\n'
    (service_folder / "service.toml").write_text('name = "spam"\n' + toml)
    preprocess = design(load_service(service_folder)).preprocess
    assert preprocess is not None
    assert preprocess.settings["clean"] is False
    assert "clean is true, so tokens would be placed in the cleaned text" in refusal(
        service_folder, toml + "clean = true\n"
    )


@pytest.mark.parametrize(
    ("task", "shape", "remedy"),
    [
        ("text-classification", [-1, 2], "set lowercase = false, or clean = true"),
        ("token-classification", [-1, -1, 2], "set lowercase = false"),
    ],
)
def test_texts_that_are_not_cleaned_are_not_lower_cased(
    service_folder: Path, task: str, shape: list[int], remedy: str
) -> None:
    write_savedmodel(service_folder / "model.savedmodel", TEXT_INPUTS, {"logits": ("FP32", shape)})
    fault = refusal(service_folder, f'task = "{task}"\n[preprocess]\nlowercase = true\nclean = false\n')
    expected = "preprocess.lowercase is true and clean is false, and only texts that are cleaned are lower-cased"
    assert fault == f"{service_folder / 'service.toml'}: {expected}; {remedy}"


@pytest.mark.parametrize(
    ("kind", "carried"), [("FP32", "FP32"), ("FP64", "FP64"), ("INT32", "FP64"), ("INT64", "FP64")]
)
def test_numbers_are_taken_with_the_digits_that_the_model_takes(service_folder: Path, kind: str, carried: str) -> None:
    write_savedmodel(service_folder / "model.savedmodel", {"features": (kind, [-1, 1])}, {"output": ("FP32", [-1, 1])})
    (service_folder / "features.json").write_text('{"columns": [{"name": "id", "type": "number"}]}')
    (service_folder / "service.toml").write_text('name = "spam"\ntask = "tabular"\n')
    (column,) = design(load_service(service_folder)).inputs
    assert (column.name, column.data_type) == ("id", f"TYPE_{carried}")


def test_a_value_is_one_number(service_folder: Path) -> None:
    write_savedmodel(
        service_folder / "model.savedmodel", {"features": ("FP32", [-1, 1])}, {"output": ("FP32", [-1, 3])}
    )
    (service_folder / "features.json").write_text('{"columns": [{"name": "a", "type": "number"}]}')
    assert "the model gives [3] for 'output'; a value is one number" in refusal(service_folder, 'task = "tabular"\n')


def test_token_tensors_of_a_type_that_the_stage_has_not_are_refused(service_folder: Path) -> None:
    inputs = TEXT_INPUTS | {"attention_mask": ("BOOL", [-1, -1])}
    write_savedmodel(service_folder / "model.savedmodel", inputs, {"logits": ("FP32", [-1, 2])})
    assert "'attention_mask' is BOOL; the stage gives INT32" in refusal(
        service_folder, 'task = "text-classification"\n'
    )


@pytest.mark.parametrize("kind", ["BOOL", "STRING"])
def test_scores_that_are_no_numbers_are_refused(service_folder: Path, kind: str) -> None:
    write_savedmodel(service_folder / "model.savedmodel", TEXT_INPUTS, {"logits": (kind, [-1, 2])})
    said = refusal(service_folder, 'task = "text-classification"\n')
    assert f"'logits' is {kind}; the stage takes FP32, FP16," in said


@pytest.mark.parametrize(
    ("kind", "channels", "setting", "fault"),
    [
        ("UINT8", 3, 'scaling = "unit"', "output 'pixels' is TYPE_UINT8 and scaling 'unit' gives fractions"),
        ("FP32", 1, 'channels = 1\nscaling = "torch"', "scaling 'torch' is for 3 channels and channels is 1"),
        ("FP32", 3, "max_pixels = 200_000_000", "setting max_pixels is 200000000; expected a whole number from 1 to"),
    ],
)
def test_what_the_image_stage_would_refuse_is_refused(
    service_folder: Path, kind: str, channels: int, setting: str, fault: str
) -> None:
    inputs = {"pixels": (kind, [-1, 8, 8, channels])}
    write_savedmodel(service_folder / "model.savedmodel", inputs, {"logits": ("FP32", [-1, 2])})
    toml = 'task = "image-classification"\n[preprocess]\nheight = 8\nwidth = 8\n'
    assert f"service.toml: preprocess: {fault}" in refusal(service_folder, f"{toml}{setting}\n")


@pytest.mark.parametrize(
    ("version", "activation", "otherwise"),
    [
        ("2.11.0", "hard_sigmoid", True),
        ("2.11.0", "sigmoid", False),
        ("3.5.0", "hard_sigmoid", False),
        (None, "x", False),
    ],
)
def test_models_whose_meaning_keras_3_changed_go_to_keras_2(
    tmp_path: Path, version: str | None, activation: str, otherwise: bool
) -> None:
    config = {"class_name": "Sequential", "config": {"layers": [{"config": {"activation": activation}}]}}
    assert _means_otherwise(ModelFile(tmp_path, "h5", version, (), (), 1, config)) is otherwise


# -- samples --------------------------------------------------------------------------------------------------------


def test_a_sample_of_texts_goes_through_the_tokenizer(service_folder: Path, tmp_path: Path) -> None:
    service = load_service(service_folder)
    (tmp_path / "texts.txt").write_text("free prize\n\nhello\n", encoding="utf-8")
    (arrays,) = read_sample(tmp_path / "texts.txt", service, design(service))
    assert arrays["input_ids"].tolist() == [[2, 3], [4, 0]]
    (tmp_path / "texts.txt").write_bytes(b"\xff")
    with pytest.raises(ServiceError, match="expected a text a line"):
        list(read_sample(tmp_path / "texts.txt", service, design(service)))


def test_a_sample_of_arrays_must_have_the_signatures_names_and_no_pickles(service_folder: Path, tmp_path: Path) -> None:
    (service_folder / "service.toml").write_text('name = "spam"\ntask = "tensors"\n')
    service = load_service(service_folder)
    pipeline = design(service)
    np.savez(tmp_path / "good.npz", input_ids=np.array([[1, 2]]))
    (arrays,) = read_sample(tmp_path / "good.npz", service, pipeline)
    assert arrays["input_ids"].dtype == np.dtype(np.int32)
    assert arrays["input_ids"].tolist() == [[1, 2]]
    np.savez(tmp_path / "other.npz", x=np.array([[1, 2]]))
    with pytest.raises(ServiceError, match=r"has \['x'\]; the signature takes \['input_ids'\]"):
        list(read_sample(tmp_path / "other.npz", service, pipeline))
    np.savez(tmp_path / "pickled.npz", input_ids=np.array([{"a": 1}], object))
    with pytest.raises(ServiceError, match="cannot be read"):
        list(read_sample(tmp_path / "pickled.npz", service, pipeline))


def test_a_tabular_services_file_and_model_must_fit(service_folder: Path) -> None:
    write_savedmodel(
        service_folder / "model.savedmodel", {"features": ("FP32", [-1, 3])}, {"output": ("FP32", [-1, 1])}
    )
    (service_folder / "service.toml").write_text('name = "spam"\ntask = "tabular"\n')
    columns = [{"name": "rooms", "type": "number"}]
    (service_folder / "features.json").write_text(json.dumps({"columns": columns}))
    with pytest.raises(ServiceError, match=r"makes 1 numbers for 'features', and the model takes \[3\]"):
        design(load_service(service_folder))


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("one.npy", np.zeros((2, 2)), "write it with numpy.savez"),
        ("cut.npz", b"PK\x03\x04 and no more", "write it with numpy.savez"),
        ("none.npz", b"", "write it with numpy.savez"),
        ("empty.npz", np.zeros((0, 2), np.int32), r"'input_ids' has the shape \[0, 2\]; expected at least one row"),
        ("half.npz", np.array([[0.5, 1]]), "'input_ids' is float64; expected int32"),
        ("text.npz", np.array([["a", "b"]]), "'input_ids' is <U1; expected int32"),
    ],
)
def test_a_sample_that_cannot_be_used_is_refused(
    service_folder: Path, tmp_path: Path, name: str, content: Any, fault: str
) -> None:
    (service_folder / "service.toml").write_text('name = "spam"\ntask = "tensors"\n')
    service = load_service(service_folder)
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif name.endswith(".npy"):
        np.save(tmp_path / name, content)
    else:
        np.savez(tmp_path / name, input_ids=content)
    with pytest.raises(ServiceError, match=fault):
        list(read_sample(tmp_path / name, service, design(service)))
    with pytest.raises(ServiceError, match="is no regular file"):
        list(read_sample(Path("/dev/zero"), service, design(service)))


def test_a_pad_id_that_the_tokenizer_has_not_is_refused(service_folder: Path) -> None:
    toml = service_folder / "service.toml"
    toml.write_text(toml.read_text() + "[preprocess]\npad_id = 999\n")
    with pytest.raises(ServiceError, match=r"tokenizer.json has 7 token ids and pads with 999, which is none of them"):
        design(load_service(service_folder))


def test_a_signature_without_inputs_or_with_nothing_in_them_is_refused(tmp_path: Path) -> None:
    for inputs, outputs, fault in (
        ({}, {"y": ("FP32", [-1, 2])}, "takes no inputs"),
        ({"x": ("FP32", [-1, 3])}, {"y": ("FP32", [-1, 0])}, r"\['y'\] of .* have an axis of size 0"),
    ):
        write_savedmodel(tmp_path / "model.savedmodel", inputs, outputs)
        (tmp_path / "service.toml").write_text('name = "x"\ntask = "tensors"\n')
        with pytest.raises(ServiceError, match=fault):
            design(load_service(tmp_path))
