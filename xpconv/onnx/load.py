"""`load`: an ONNX file as a `Graph`."""

from __future__ import annotations

import os

from ..arguments import shown, to_bool
from ..layers.graph import Graph
from .batch import check_batch
from .contents import Model
from .loader import Loader

__all__ = ["load"]


def load(path: str | os.PathLike[str], *, dynamic_batch: bool = False) -> Graph:
    """The model in an ONNX file, as a `Graph` in inference mode, on the active backend.

    It computes what the file describes, and can be trained: `graph.train()`, `graph.backward(grad)`,
    `graph.fuse()` and all else are those of a `Graph`. Its nodes have the names of the file's values (with
    `_` for dots), and its state dict those of the initializers; the weights of layers are parameters, and the
    statistics of a BatchNormalization buffers. A weight that the file stores transposed has xpconv's order of
    axes.

    Parameters are the floating arrays of the file that are weights, even if a Transpose, Concat, Gather, Mul
    or the like lies between them and the layer: the initializers with axes; and the initializers without
    axes and the nodes Constant which are a weight, bias, scale or slope of a Conv, ConvTranspose, Gemm,
    MatMul, PRelu, BatchNormalization, LayerNormalization or GroupNormalization, or which an Add adds to
    the product of one of the first four with a weight. Other scalars and nodes Constant, such as the
    factors of arithmetic, are not trained. An initializer with two or more axes that is taken in several
    roles, such as a matrix and its transpose, is one parameter, of a node of its own. A
    BatchNormalization computes with the statistics of the file in inference mode; after `graph.train()`
    it is a BatchNorm that trains, unless `graph.requires_grad_(False, eval=True)` froze it.

    What depends on constants alone is computed once, and what depends on parameters in each forward. Sizes
    that depend on the input, as where a Reshape takes the Shape of a batch, are computed on the host in each
    forward. Opsets from 7 on, arrays of all floating types and of integers, and external data in the model's
    folder are read.

    Args:
        path: of the file.
        dynamic_batch: whether to free the first axis of each input, if the file fixes it: constant targets of
            Reshape that begin with its size are changed, and two batches compared with both as one.

    Returns:
        the graph; `graph.inputs` and `graph.outputs` are the names of its inputs and outputs. It takes inputs
        of the shapes that the file declares, which are `graph.shapes`. `graph.image_info`, the classes and
        the shape of images, is that of the exported model, if it had one. Names of inputs and outputs that
        no graph can have, with dots, are in `graph.onnx_names`, and `export` gives them again.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        DataFileError: (a ValueError) it is no ONNX file, or damaged: names without a value, cycles, sizes
            that do not fit their data, external data out of the model's folder; or it computes with the size
            of its batch, which `dynamic_batch` cannot free.
        OperatorError: (a ValueError) it has nodes that xpconv cannot compute; the text names all of them.

    Example:
        >>> import numpy as np, tempfile, xpconv.onnx
        >>> from onnx import TensorProto, helper, save
        >>> x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])
        >>> y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
        >>> relu = helper.make_node("Relu", ["x"], ["y"])
        >>> model = helper.make_model(helper.make_graph([relu], "model", [x], [y]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(model, f"{folder}/model.onnx")
        ...     graph = xpconv.onnx.load(f"{folder}/model.onnx")
        >>> graph(np.array([[-1.0, 0, 2]], "float32"))
        array([[0., 0., 2.]], dtype=float32)
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"xpconv.onnx.load: path is {shown(path)}, expected the path of an ONNX file")
    name = os.fspath(path)
    dynamic_batch = to_bool("xpconv.onnx.load: dynamic_batch", dynamic_batch)
    if os.path.isdir(name):
        raise IsADirectoryError(f"xpconv.onnx.load: {name!r} is a folder, expected an ONNX file")
    if not os.path.isfile(name):
        raise FileNotFoundError(f"xpconv.onnx.load: there is no file {name!r} (from {os.getcwd()!r})")
    model = Model(name, dynamic_batch)
    loader = Loader(model)
    graph = loader.graph()
    if model.frees:
        model.free_batch({name: value.shape for name, value in loader.values.items()})
        graph = Loader(model).graph()
        check_batch(model.where, graph, model.fixed)
    return graph
