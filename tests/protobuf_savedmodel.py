"""SavedModels that only say what they take and give: enough for all that reads the file without running it."""

from pathlib import Path

from triton_tensorflow.protobuf import messages

DTYPES = {"FP32": 1, "FP64": 2, "INT32": 3, "UINT8": 4, "STRING": 7, "INT64": 9, "BOOL": 10}
Tensors = dict[str, tuple[str, list[int]]]  # name → data type, shape
TEXT_INPUTS: Tensors = {"input_ids": ("INT32", [-1, -1])}


def write_savedmodel(
    folder: Path, inputs: Tensors, outputs: Tensors, signature: str = "serving_default", content: bytes = b"graph"
) -> Path:
    """Write FOLDER/saved_model.pb and a file of variables; `content` makes one model differ from another."""
    message = messages().SavedModel()
    graph = message.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    definition = graph.signature_def[signature]
    for tensors, wanted in ((definition.inputs, inputs), (definition.outputs, outputs)):
        for name, (data_type, shape) in wanted.items():
            tensors[name].name = f"{name}:0"
            tensors[name].dtype = DTYPES[data_type]
            for size in shape:
                tensors[name].tensor_shape.dim.add(size=size)
    (folder / "variables").mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    (folder / "variables" / "variables.index").write_bytes(content)
    return folder
