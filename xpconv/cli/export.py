"""`xpconv export`: a model file as `.onnx`."""

from __future__ import annotations

import argparse
import json

from ..errors import DataFileError
from ..onnx import export as export_onnx
from .image_model import ImageInfo, open_model
from .images import printable


def export(options: argparse.Namespace) -> int:
    """Run the command."""
    if not options.out.endswith(".onnx"):
        raise ValueError(f"OUT is {options.out}, expected a name that ends with .onnx")
    model = open_model(options.model).eval()
    shape = options.shape
    if shape is None and hasattr(model, "image_info"):
        shape = ImageInfo.of(model, options.model).shape
    if shape is None:
        raise DataFileError(
            f"{options.model}: the model does not have the shape of its images; give --shape, such as "
            "--shape 3,224,224"
        )
    options_given = {"opset": options.opset} if options.opset else {}
    export_onnx(model, options.out, shape, fold_batchnorm=options.fold_batchnorm, **options_given)
    if options.json:
        print(json.dumps({"file": options.out, "input_shape": list(shape)}))
    else:
        print(f"wrote {printable(options.out)}, for batches of images {tuple(shape)}")
    return 0
