"""The package `xpconv.onnx` without the library onnx."""

import subprocess
import sys


def test_without_the_library_the_error_says_what_to_install():
    code = "import sys; sys.modules['onnx'] = None; import xpconv; xpconv.onnx"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr.strip().endswith("ImportError: xpconv.onnx: onnx is missing; pip install onnx")
