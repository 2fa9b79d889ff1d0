"""The package `xpconv.onnx` without the library onnx."""

import sys

import process


def test_without_the_library_the_error_says_what_to_install():
    code = "import sys; sys.modules['onnx'] = None; import xpconv; xpconv.onnx"
    run = process.run([sys.executable, "-c", code], check=False)
    assert run.stderr.strip().endswith("ImportError: xpconv.onnx: onnx is missing; pip install onnx")
