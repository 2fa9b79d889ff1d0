"""`export`: a model as an `.onnx` file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import numpy as np

from ..arguments import is_sequence, shown, to_bool, to_int
from ..backend import Array
from ..files.atomic import check_target, to_path, write_atomically
from ..files.container import versions
from ..files.image_info import image_info_text
from ..layers.graph import Graph
from ..layers.layer import Layer
from ..layers.module_list import ModuleDict, ModuleList
from ..layers.tree import join
from .builder import Builder, Size, Tensor
from .library import checker, defs, helper, numpy_helper, onnx, shape_inference
from .probe import Sizes, examples
from .rules import refusal, rule_of

__all__ = ["export"]

OLDEST, DEFAULT = 13, 17  # opsets
BATCH = "batch"  # the name of the free size of the first axis
LARGEST = 2**31 - 2**20  # bytes of a file; protobuf takes no message of 2 GiB
ALIGNED = 4096  # bytes, of the offset of an array in a file that is mapped
APART = 1024  # bytes of an array that is written to the file beside a large model


def export(
    model: Layer,
    path: str | os.PathLike[str],
    input_shape: Any,
    opset: int = DEFAULT,
    dynamic_batch: bool = True,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    *,
    fold_batchnorm: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model as an `.onnx` file, which onnxruntime, browsers, phones and other frameworks run.

    The file computes what the model computes in inference, in the dtype of its parameters. Its initializers
    have the names of the state dict. It is written only if it passes ONNX's checker; a crash leaves the old
    file or the new one. A model of more than 2 GB has its arrays in a second file beside it,
    with a new name each time that begins with that of the first and ends in `.data`. The two belong
    together; the next export to `path` removes it.

    A layer of your own needs a method `to_onnx`, which writes it in ONNX's operators: see `Builder`.

    Args:
        model: in inference mode.
        path: of the file.
        input_shape: of one image, without the batch axis; for several inputs a tuple of shapes. An array
            instead of a shape gives shape and dtype, with the batch axis, as in `summary`.
        opset: version of ONNX's operators, from 13 to the newest that the installed `onnx` knows. Newer
            ones have operators for more layers (17 LayerNorm, 18 Mish, 20 GELU); in older ones such a layer
            is several nodes. Older runtimes read older opsets.
        dynamic_batch: whether the file takes batches of any size; False fixes the size, to 1 or that of the
            arrays in `input_shape`.
        input_names, output_names: None gives those of a `Graph`, of other models `input` and `output`, or
            `input_0`, `input_1`, … if there are several.
        fold_batchnorm: whether to fold each BatchNorm into the layer before it, as `model.fuse()` does.
        metadata: a dict of strings to store in the file. If the model has an `image_info`, that is stored
            too, and gives `xpconv predict` the classes; its shape becomes `input_shape`.

    Raises:
        ValueError: the model is in training mode; it has layers that ONNX has no form for, all of which are
            named with their paths; an argument is wrong; `model.image_info` does not fit the model.
        TypeError: an argument has the wrong type.
        ShapeError: (a ValueError) the model does not take images of `input_shape`.
        OSError: the file cannot be written.

    Example:
        >>> import os, tempfile, xpconv
        >>> model = xpconv.models.resnet20().eval()
        >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
        >>> xpconv.onnx.export(model, path, (3, 32, 32))
    """
    if not isinstance(model, Layer):
        raise TypeError(f"xpconv.onnx.export: model is {shown(model)}, expected a Layer")
    path = to_path("xpconv.onnx.export", path)
    opset = _to_opset(opset)
    dynamic_batch = to_bool("xpconv.onnx.export: dynamic_batch", dynamic_batch)
    fold_batchnorm = to_bool("xpconv.onnx.export: fold_batchnorm", fold_batchnorm)
    texts = _texts(metadata)
    check_target("xpconv.onnx.export", path)
    _check_mode(model)
    _check_layers(model)
    inputs, outputs, sizes = examples(model, input_shape, dynamic_batch)
    if "image_info" not in texts and (info := image_info_text("xpconv.onnx.export", model, inputs, outputs)):
        texts["image_info"] = info
    own = isinstance(model, Graph) and not set(model.inputs) & set(model.outputs)
    ins = _names("input", _own(model, "inputs") if own and input_names is None else input_names, len(inputs))
    outs = _names(
        "output", _own(model, "outputs") if own and output_names is None else output_names, len(outputs)
    )
    if both := set(ins) & set(outs):
        raise ValueError(f"xpconv.onnx.export: {min(both)!r} is the name of an input and of an output")
    proto = _graph(model.fuse() if fold_batchnorm else model, opset, inputs, dynamic_batch, ins, outs, sizes)
    _check_file(proto)
    _check_outputs(proto, outputs)
    helper.set_model_props(proto, texts)
    _write(path, proto)


def metadata_of(path: str) -> dict[str, str]:
    """The metadata of a file."""
    return {p.key: p.value for p in onnx.load_model(path, load_external_data=False).metadata_props}


def _texts(metadata: Any) -> dict[str, str]:
    texts = {} if metadata is None else metadata
    if not isinstance(texts, Mapping) or not all(isinstance(t, str) for pair in texts.items() for t in pair):
        raise TypeError(
            f"xpconv.onnx.export: metadata is {shown(metadata)}, expected a mapping of texts to texts"
        )
    _check_text("metadata", [text for pair in texts.items() for text in pair])
    return dict(texts)


def _check_text(what: str, texts: Iterable[str]) -> None:
    """Raise an error for text that UTF-8 cannot encode, such as the names of files that are not UTF-8."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"xpconv.onnx.export: {what} has {text!r}: {error}") from None


def _to_opset(value: Any) -> int:
    opset = to_int("xpconv.onnx.export: opset", value)
    newest = defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        hint = "; a newer one needs a newer `onnx`" if opset > newest else ""
        raise ValueError(f"xpconv.onnx.export: opset is {opset}, expected {OLDEST} to {newest}{hint}")
    return opset


def _check_mode(model: Layer) -> None:
    training = [name for name, layer in model.named_layers() if layer.training]
    if training:
        where = "the model" if not training[0] else f"layer {training[0]}"
        raise ValueError(
            f"xpconv.onnx.export: {where} is in training mode, and a file is for inference; "
            "call model.eval() first"
        )


def _check_layers(model: Layer) -> None:
    """One error for all layers that cannot be written."""
    refused = list(_refused(model, ""))
    if refused:
        raise ValueError("xpconv.onnx.export: ONNX has no form for this model:\n" + "\n".join(refused))


def _refused(layer: Layer, path: str) -> Iterator[str]:
    why = refusal(layer)
    if why is not None:
        yield f"  {path or 'the model'}, {type(layer).__name__}: {why}"
    elif any("to_onnx" in vars(kind) for kind in type(layer).__mro__):
        return  # it writes its children
    for name, child in layer.named_children():
        if not isinstance(child, ModuleList | ModuleDict):
            yield from _refused(child, join(path, name))


def _own(graph: Any, kind: str) -> list[str]:
    """The names of a graph's inputs or outputs; of a loaded graph, those in its file."""
    renamed: Any = getattr(graph, "onnx_names", {})
    taken = set(graph._state()) if kind == "outputs" else set()  # an array of the model may be an output
    names: list[str] = []
    for name in getattr(graph, kind):
        new, number = renamed.get(name, name), 1
        while new in taken:  # also if an output occurs twice
            number += 1
            new = f"{renamed.get(name, name)}_{number}"
        taken.add(new)
        names.append(new)
    return names


def _names(kind: str, given: Any, count: int) -> list[str]:
    """The names of the inputs or outputs."""
    if given is None:
        return [kind] if count == 1 else [f"{kind}_{i}" for i in range(count)]
    names = list(given) if is_sequence(given) else None
    if names is None or not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"xpconv.onnx.export: {kind}_names is {shown(given)}, expected a list of names")
    if len(names) != count or len(set(names)) != count:
        raise ValueError(
            f"xpconv.onnx.export: {kind}_names is {shown(given)}, expected {count} different: "
            f"the model has {count}"
        )
    _check_text(f"{kind}_names", names)
    return names


def _graph(
    model: Layer,
    opset: int,
    inputs: Sequence[Array],
    dynamic_batch: bool,
    input_names: list[str],
    output_names: list[str],
    sizes: Mapping[str, Sizes],
) -> Any:
    """The model as ONNX's message."""
    state = model._state()
    if taken := set(state) & {*input_names, *output_names}:
        raise ValueError(
            f"xpconv.onnx.export: {min(taken)!r} is the name of an array in the state dict; give another"
        )
    names: dict[int, str] = {}
    for name, array in state.items():
        names.setdefault(id(array), name)
    paths = {id(layer): name for name, layer in reversed(list(model.named_layers()))}
    builder = Builder(opset, names, paths, _rule, sizes)
    builder.reserve([*state, *input_names, *output_names])
    tensors = []
    for name, x in zip(input_names, inputs, strict=True):
        free = dynamic_batch and x.ndim > 0
        shape: list[Size] = [BATCH, *x.shape[1:]] if free else list(x.shape)
        tensors.append(builder.input(name, shape, str(x.dtype)))
    result = builder.layer(model, *tensors)
    results = list(result) if isinstance(result, tuple | list) else [result]
    if len(results) != len(output_names):
        raise ValueError(
            f"xpconv.onnx.export: to_onnx returns {len(results)} outputs, expected {len(output_names)}"
        )
    outputs = _named_outputs(builder, results, output_names, {*input_names, *names.values()})
    graph = helper.make_graph(
        builder.nodes,
        type(model).__name__,
        [helper.make_value_info(name, builder.type_of(name)) for name in input_names],
        [helper.make_value_info(name, builder.type_of(tensor.name)) for name, tensor in outputs],
        [numpy_helper.from_array(np.ascontiguousarray(w.array), w.name) for w in builder.weights.values()],
    )
    imports = [helper.make_opsetid("", opset)]
    version = helper.find_min_ir_version_for(imports)
    return helper.make_model(
        graph,
        opset_imports=imports,
        ir_version=version,
        producer_name="xpconv",
        producer_version=versions()["xpconv"],
    )


def _rule(layer: Layer) -> Any:
    why = refusal(layer)
    if why is not None:
        raise ValueError(f"xpconv.onnx.export: ONNX has no form for {type(layer).__name__}: {why}")
    rule = rule_of(layer)
    return lambda builder, *inputs: rule(builder, layer, *inputs)  # type: ignore[misc]  # it is not refused


def _named_outputs(
    builder: Builder, tensors: list[Tensor], names: list[str], fixed: set[str]
) -> list[tuple[str, Tensor]]:
    """The outputs under their names; an input, a weight or a repeated output gets an Identity."""
    new: dict[str, str] = {}
    found = []
    for name, tensor in zip(names, tensors, strict=True):
        if tensor.name in fixed or tensor.name in new:
            tensor = builder.node("Identity", tensor)
        new[tensor.name] = name
        found.append((name, tensor))
    new = {**builder.results(), **new}
    for node in builder.nodes:
        for field in (node.input, node.output):
            field[:] = [new.get(name, name) for name in field]
    return found


def _check_file(proto: Any) -> None:
    """ONNX's checker with full inference of shapes; the arrays are inputs here, so that none is copied."""
    graph = proto.graph
    arrays = [helper.make_tensor_value_info(a.name, a.data_type, a.dims) for a in graph.initializer]
    light = helper.make_graph(graph.node, graph.name, [*graph.input, *arrays], graph.output)
    model = helper.make_model(light, opset_imports=proto.opset_import, ir_version=proto.ir_version)
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError) as cause:
        raise ValueError(
            f"xpconv.onnx.export: a to_onnx makes what ONNX's checker refuses: {cause}"
        ) from cause


def _check_outputs(proto: Any, outputs: list[Array]) -> None:
    """Raise an error if the file's output shapes or dtypes are not the model's, due to a wrong `to_onnx`."""
    for value, y in zip(proto.graph.output, outputs, strict=True):
        kind = value.type.tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
        dtype = str(helper.tensor_dtype_to_np_dtype(kind.elem_type))
        same = len(shape) == y.ndim and all(n in (None, m) for n, m in zip(shape, y.shape, strict=True))
        if not same or dtype != str(y.dtype):
            raise ValueError(
                f"xpconv.onnx.export: by ONNX's inference {value.name} is {dtype} of shape {shape}, but the "
                f"model returns {y.dtype} of shape {list(y.shape)}; a to_onnx must return what the forward "
                "of its class returns"
            )


def _write(path: str, proto: Any) -> None:
    """Write a model; if it is too large for one file, its arrays into a second one, first.

    That one has a new name each time: until the `.onnx` file is replaced, the old one has its own arrays.
    """
    folder, name = os.path.split(path)
    mine = re.compile(rf"{re.escape(name)}\.[0-9a-f]{{32}}\.data")
    old = [os.path.join(folder, entry) for entry in os.listdir(folder or ".") if mine.fullmatch(entry)]
    data = os.path.join(folder, f"{name}.{uuid4().hex}.data")
    try:
        if sum(len(array.raw_data) for array in proto.graph.initializer) > LARGEST:
            write_atomically(data, list(_move_out(proto, os.path.basename(data))))
        write_atomically(path, [proto.SerializeToString()])
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(data)
        raise
    for file in old:
        with suppress(OSError):  # open in another process, on Windows: the next export removes it
            os.remove(file)


def _move_out(proto: Any, file: str) -> Iterator[bytes]:
    """Make the large arrays refer to `file`, from which ONNX maps them; yields its content."""
    offset = 0
    for array in proto.graph.initializer:
        if len(array.raw_data) < APART:
            continue
        content = array.raw_data
        padding = -offset % ALIGNED
        offset += padding
        array.ClearField("raw_data")
        array.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", file), ("offset", offset), ("length", len(content))):
            array.external_data.add(key=key, value=str(value))
        offset += len(content)
        yield b"\0" * padding
        yield content
