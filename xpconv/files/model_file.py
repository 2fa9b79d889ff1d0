"""Models in files of their own, with their architecture: `save_model` and `load_model`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..arguments import shown
from ..arrays import asnumpy
from ..errors import DataFileError
from ..layers import Layer
from .architecture import Description
from .atomic import to_path
from .container import read, write
from .encoding import Encoder
from .rebuild import rebuild

__all__ = ["load_model", "save_model"]


def save_model(model: Layer, path: str | os.PathLike[str]) -> None:
    """Save a model to one file: the architecture as JSON, and the weights.

    All layers and models of xpconv are restored by `load_model` as they are: arguments, shared layers and
    parameters, dtypes, frozen parameters, training or inference mode, generators of dropout layers, and
    attributes with plain values, such as `model.classes = ["cat", "dog"]`. Not saved are gradients, hooks,
    other attributes, and what forwards have saved for backward.

    A layer of a class of your own is stored by the name of the class, with the constructor's arguments that
    its `get_config` returns, by default the attributes with their names.

    The arrays in the safetensors file have the names of the state dict: `model.load_state_dict(path)` and
    other programs read it. It is written as `save` does, with a checksum.

    Args:
        model: the model.
        path: of the file, by custom with the ending `.safetensors`; an existing one is replaced.

    Raises:
        TypeError: `model` is not a layer, or an argument of a layer cannot be stored in JSON.
        ValueError: the model is from `fuse()`, or the path ends as files of another kind do, such as `.pt`.
        OSError: the file cannot be written. `path` is unchanged then.

    Example:
        >>> import os, tempfile, xpconv
        >>> model = xpconv.Sequential(xpconv.Conv2d(1, 4, 3), xpconv.ReLU(), xpconv.Flatten())
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> xpconv.save_model(model.eval(), path)
        >>> xpconv.load_model(path)
        Sequential(
          (0): Conv2d(1, 4, kernel_size=3)
          (1): ReLU()
          (2): Flatten()
        )
    """
    if not isinstance(model, Layer):
        hint = "; the model comes first: xpconv.save_model(model, path)" if isinstance(path, Layer) else ""
        if isinstance(model, Mapping):
            hint = "; a state dict has the weights alone: safetensors.numpy.save_file writes it"
        raise TypeError(f"save_model: model is {shown(model)}, expected a Layer{hint}")
    path = to_path("save_model", path)
    encoder = Encoder("save_model")
    for name, array in model._state().items():
        if encoder.add(name, asnumpy(array)) != name:
            raise ValueError(f"save_model: an array is called {name!r}; give its layer another name")
    found = Description(model, encoder)
    content = {"layers": found.layers, "generators": found.generators}
    write("save_model", path, "model", content, encoder.arrays)


def load_model(path: str | os.PathLike[str], classes: Mapping[str, type[Layer]] | None = None) -> Layer:
    """The model in a file of `save_model`, on the active backend.

    Nothing that the file names is imported: layers are those of xpconv and those in `classes`. The arguments
    are checked by the constructors, and models that would take much more memory than the file's arrays are
    refused before they are allocated.

    Args:
        path: of the file.
        classes: your own classes of layers, by their names in the file.

    Raises:
        DataFileError: (a ValueError) the file is damaged, no model, or of a newer version; or the arrays do
            not fit the layers.
        ValueError: the file has layers of a class that is not in `classes`.
        FileNotFoundError: there is no such file.

    A file of `xpconv train` has a model of images `(N, C, H, W)` with values from 0 to 1, as `read_image`
    gives them: its layer `normalize` subtracts their mean and divides by their deviation, and `network` gives
    the scores. Its attribute `model.image_info` is a dict with `classes`, their names in the order of the
    scores, and `shape`, `[C, H, W]`; gray images (C = 1) are read with `mode="L"`:

        model = xpconv.load_model("run/model.safetensors")
        image = xpconv.data.read_image("new.png", size=model.image_info["shape"][1:])
        scores = xpconv.train.predict(model, image[None])  # before softmax
        print(model.image_info["classes"][int(scores[0].argmax())])

    Example:
        >>> import os, tempfile, xpconv
        >>> class Wide(xpconv.Sequential):
        ...     def __init__(self, width):
        ...         super().__init__(xpconv.Dense(2, width), xpconv.ReLU(), xpconv.Dense(width, 2))
        ...         self.width = width
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> xpconv.save_model(Wide(64), path)
        >>> xpconv.load_model(path, classes={"Wide": Wide}).width
        64
    """
    path = to_path("load_model", path)
    if not isinstance(classes, Mapping | None):
        raise TypeError(f"load_model: classes is {shown(classes)}, expected a mapping of names to classes")
    for name, kind in (classes or {}).items():
        if not (isinstance(kind, type) and issubclass(kind, Layer)):
            raise TypeError(f"load_model: classes[{name!r}] is {shown(kind)}, expected a class of layers")
    content, arrays = read("load_model", path, "model")
    if not isinstance(content.get("generators"), list):
        raise DataFileError(f"load_model: {path!r} is damaged: it has no generators")
    return rebuild(f"load_model: {path!r}", content, arrays, classes or {})
