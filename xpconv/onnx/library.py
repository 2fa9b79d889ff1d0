"""The library `onnx`, imported here alone, so that one error says what to install."""

try:
    import onnx as onnx
    from onnx import checker as checker
    from onnx import defs as defs
    from onnx import helper as helper
    from onnx import numpy_helper as numpy_helper
    from onnx import shape_inference as shape_inference
except ImportError as cause:
    raise ImportError("xpconv.onnx: onnx is missing; pip install onnx") from cause
