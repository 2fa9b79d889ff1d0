"""What an installed xpconv must do where only NumPy is installed; run it outside of the repository.

    python smoke.py [README.md]

With a README, its training loop runs too, which needs scikit-learn's digits.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import xpconv
from xpconv import functional as F

# The rooms that need other projects, and what to install for them.
OPTIONAL = {
    "onnx": ("onnx", "onnx"),
    "plot": ("matplotlib", "matplotlib"),
    "sklearn": ("sklearn", "scikit-learn"),
}


def is_installed() -> None:
    """The package is the installed one, with its version, its types and the sources of its CUDA kernels."""
    folder = Path(xpconv.__file__).parent
    assert folder.is_relative_to(sys.prefix), f"{folder} is not in {sys.prefix}"
    assert importlib.metadata.version("xpconv") == xpconv.__version__
    assert (folder / "py.typed").exists()
    assert (folder / "kernels" / "cupy" / "conv.cu").exists()
    assert (folder / "kernels" / "cupy" / "common.cuh").exists()


def says_what_to_install(package: str, function: Callable[..., object], *args: object) -> None:
    """Check that a call without an optional package raises an error that says how to install it."""
    problem = "it works without"
    try:
        function(*args)
    except ImportError as error:
        problem = str(error)
    assert f"pip install {package}" in problem, problem


def rooms_come() -> None:
    """Each public room is imported, or its error says what to install."""
    for room in xpconv._ROOMS:
        needed, package = OPTIONAL.get(room, ("", ""))
        if needed and importlib.util.find_spec(needed) is None:
            says_what_to_install(package, importlib.import_module, f"xpconv.{room}")
        else:
            assert getattr(xpconv, room).__name__ == f"xpconv.{room}"


def small_model() -> xpconv.Sequential:
    return xpconv.Sequential(
        xpconv.Conv2d(1, 4, 3, padding=1, rng=0), xpconv.BatchNorm2d(4), xpconv.ReLU(), xpconv.MaxPool2d(2),
        xpconv.Flatten(), xpconv.Dense(4 * 4 * 4, 3, rng=0),
    )  # fmt: skip


def trains_saves_and_loads(folder: Path) -> None:
    """The loss falls; a copy that has the saved weights computes the same."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((32, 1, 8, 8), dtype="float32"), rng.integers(0, 3, 32)
    model, criterion = small_model(), xpconv.SoftmaxCrossEntropyLoss()
    optimizer = xpconv.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        losses.append(float(criterion(model(x), y)))
        optimizer.zero_grad()
        model.backward(criterion.backward(), input_grad=False)
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0], losses
    np.savez(folder / "weights.npz", **{name: xpconv.asnumpy(a) for name, a in model.state_dict().items()})
    other = small_model()
    other.load_state_dict(folder / "weights.npz")
    with xpconv.no_grad():
        expected = model.eval()(x)
        assert np.array_equal(other.eval()(x), expected)
        assert np.allclose(other.fuse()(x), expected, atol=1e-5)
    path = folder / "model.safetensors"
    if importlib.util.find_spec("safetensors") is None:
        says_what_to_install("safetensors", xpconv.save_model, model, path)
    else:
        xpconv.save_model(model, path)
        with xpconv.no_grad():
            assert np.array_equal(xpconv.load_model(path)(x), expected)


def functions_compute() -> None:
    """Convolution by the function is the sum that its name promises, and its gradient the adjoint."""
    rng = np.random.default_rng(1)
    x, weight = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((4, 3, 3, 3))
    y = F.conv2d(x, weight)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    assert np.allclose(y, np.einsum("nchwij,kcij->nkhw", windows, weight))
    grad = rng.standard_normal(y.shape)
    dx = F.conv2d_input(x.shape, weight, grad)
    assert np.allclose((dx * x).sum(), (grad * y).sum())


def commands_run() -> None:
    """`xpconv info`, `python -m xpconv --help` and `--version` work."""
    script = Path(sys.executable).with_name("xpconv")
    for command, expected in (
        ([script, "info"], f"xpconv {xpconv.__version__}"),
        ([sys.executable, "-m", "xpconv", "--help"], "train"),
    ):
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert expected in run.stdout, run.stdout


def readme_runs(readme: Path) -> None:
    """The first block of the README that has a training loop; what it prints is what it says."""
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), flags=re.DOTALL)
    block = next(block for block in blocks if "optimizer.step()" in block)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(block, "README.md", "exec"), {})  # noqa: S102
    assert printed.getvalue().splitlines() == re.findall(r"print\(.*?\)  # (.+)", block), printed.getvalue()


if __name__ == "__main__":
    is_installed()
    rooms_come()
    with tempfile.TemporaryDirectory() as folder:
        trains_saves_and_loads(Path(folder))
    functions_compute()
    commands_run()
    for readme in sys.argv[1:]:
        readme_runs(Path(readme))
    print(
        f"works: xpconv {xpconv.__version__}, Python {sys.version.split()[0]}, NumPy {np.__version__}"
        + ", README's loop" * (len(sys.argv) > 1)
    )
