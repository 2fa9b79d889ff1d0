"""The house: what imports cost, which way they point, and that what is written down is true."""

import ast
import functools
import graphlib
import importlib
import importlib.util
import inspect
import operator
import re
import sys
from pathlib import Path
from typing import NamedTuple

import process
import pytest

import xpconv

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "xpconv").rglob("*.py"))

# Files that may name numpy: the switch, host-side files (seeds, data files), and the tests' helper.
HOST = {
    "plot/figures.py", "plot/maps.py", "plot/charts.py", "train/find_lr.py",
    "array_library.py", "backend.py", "reports.py", "arrays.py", "random.py", "contract.py", "testing.py", "info.py", "data/idx.py", "data/datasets.py", "data/batches.py", "data/prefetch.py",
    "data/sources.py", "data/samplers.py", "data/settings.py", "data/mapped.py",
    "files/architecture.py", "files/container.py", "files/encoding.py", "files/rebuild.py",
    "data/cifar.py", "data/folder.py", "data/image_files.py", "data/mnist.py", "data/splits.py", "data/statistics.py",
    "data/transforms/affine.py", "data/transforms/color.py", "data/transforms/compose.py", "data/transforms/crops.py",
    "onnx/loader.py", "onnx/contents.py", "onnx/inferred.py", "onnx/tensors.py", "onnx/sequences.py",
    "onnx/builder.py", "onnx/export.py", "onnx/probe.py", "onnx/batch.py", "onnx/node.py", "onnx/rules/linear.py", "onnx/rules/norm.py",
    "onnx/rules/pool.py", "onnx/rules/resize.py", "onnx/rules/operators.py", "onnx/rules/windows.py",
    "onnx/operators/common.py", "onnx/operators/arithmetic.py", "onnx/operators/activations.py",
    "onnx/operators/shapes.py",
    "sklearn/base.py", "sklearn/building.py", "sklearn/classifier.py", "sklearn/defaults.py", "sklearn/estimator.py",
    "sklearn/inputs.py", "sklearn/regressor.py", "sklearn/state.py", "sklearn/targets.py", "sklearn/training.py",
    "sklearn/transformer.py", "sklearn/weights.py",
    "distributed/communicator.py", "distributed/seeds.py", "cli/evaluate.py", "cli/images.py", "cli/predict.py", "cli/report.py", "cli/train.py",
    "data/transforms/erase.py", "data/transforms/mix.py", "data/transforms/sizes.py",
}  # fmt: skip
# The rooms from the ground up. A file imports from its own room and from those before it.
ROOMS = [
    "errors",
    "locks",
    "signatures",
    "backend",
    "reports",
    "array_library",
    "dtypes",
    "arrays",
    "geometry",
    "arguments",
    "layout",
    "sums",
    "random",
    "cores",
    "kernels",
    "checks",
    "ops",
    "resizing",
    "tape",
    "taped_checks",
    "taped",
    "arraylike",
    "parameter",
    "init",
    "layers",
    "losses",
    "functional",
    "optim",
    "data",
    "models",
    "files",
    "explain",
    "inspection",
    "onnx",
    "plot",
    "cuda",
    "distributed",
    "train",
    "sklearn",
    "contract",
    "testing",
    "__init__",
    "info",
    "cli",
    "__main__",
]
# What losses and optimizers import from layers: the tape, and the model that an average is taken of.
FROM_LAYERS = {
    ("optim/ema.py", "layers/layer.py"),
}
# What `import xpconv` must not load: other projects, and slow modules of the standard library.
OPTIONAL = (
    "cupy", "cudnn", "matplotlib", "ml_dtypes", "mpi4py", "onnx", "pandas", "PIL", "safetensors", "scipy",
    "sklearn", "threadpoolctl", "torch", "tqdm",
)  # fmt: skip
SLOW = (
    "asyncio", "concurrent", "dataclasses", "difflib", "email", "html", "http", "logging", "multiprocessing",
    "socket", "ssl", "statistics", "unicodedata", "urllib", "xml",
)  # fmt: skip
MOST_MODULES = 150  # of the package
# Imports that the rules forbid, each with what is to be done about it; see `test_known_violations_exist`.
KNOWN_VIOLATIONS: dict[tuple[str, str], str] = {}


def test_import_loads_few_modules():
    """What `import xpconv` loads beside NumPy: nothing heavy, and of the package only what every model needs."""
    code = (
        "import sys, numpy; before = set(sys.modules); import xpconv; print(*sorted({*sys.modules} - before))"
    )
    run = process.run([sys.executable, "-c", code])
    loaded = run.stdout.split()
    own = [name for name in loaded if name.partition(".")[0] == "xpconv"]
    assert not {name.partition(".")[0] for name in loaded} & {*OPTIONAL, *SLOW}
    assert not {".".join(name.split(".")[:2]) for name in own} & {f"xpconv.{room}" for room in xpconv._ROOMS}
    devices = tuple(f"xpconv.kernels.{folder}" for folder in ("numpy", "engine", "cupy"))
    assert not {name for name in own if name.startswith(devices)}
    assert 50 < len(own) <= MOST_MODULES, "import what few programs need in the functions that need it"


@functools.cache
def parsed(path):
    return ast.parse(path.read_text())


def test_dir_lists_what_is_imported_later():
    """So that it can be completed by the Tab key."""
    assert {"Conv2d", "data", "load", "save_model", "train"} <= set(dir(xpconv))
    needed = {"onnx": "onnx", "plot": "matplotlib", "sklearn": "sklearn"}  # what some of it imports
    for name in dir(xpconv):
        if name not in needed or importlib.util.find_spec(needed[name]) is not None:
            assert hasattr(xpconv, name)


def imports(path, root=ROOT):
    """The names that a file imports, inside functions and under TYPE_CHECKING too: `xpconv.ops.conv`, …"""
    package = path.relative_to(root).parts[:-1]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def import_graph(root=ROOT):
    """Each file of the package to the files it imports, as paths within the package."""
    paths = sorted((root / "xpconv").rglob("*.py"))
    names = {}
    for path in paths:
        parts = path.relative_to(root).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    files = {name: path.relative_to(root / "xpconv").as_posix() for name, path in names.items()}
    graph = {}
    for name, path in names.items():
        found = set()
        for imported in imports(path, root):
            while imported not in files and "." in imported:  # a name in a module
                imported = imported.rpartition(".")[0]
            if imported in files:
                found.add(files[imported])
        graph[files[name]] = found
    return graph


def room_of(file):
    return file.split("/")[0].removesuffix(".py")


# Pairs of folders of `kernels`: the first must not import from the second.
ACROSS = {("numpy", "cupy"), ("cupy", "numpy"), ("cupy", "engine"), ("engine", "numpy"), ("engine", "cupy")}


def violations(graph):
    """The imports that point upward, or past a room that stands between."""
    for file, imported in graph.items():
        room = room_of(file)
        for target in imported:
            below = room_of(target)
            upward = ROOMS.index(below) > ROOMS.index(room)
            past = room == "layers" and below == "kernels"
            aside = room in ("losses", "optim") and below == "layers" and (file, target) not in FROM_LAYERS
            folders = tuple(f.split("/")[1] for f in (file, target) if f.startswith("kernels/"))
            across = folders in ACROSS
            if upward or past or aside or across:
                yield file, target


def circle(graph):
    """Files that import one another in a circle, in order; empty if there are none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]
    return []


def without_known(graph):
    return {
        file: {t for t in targets if (file, t) not in KNOWN_VIOLATIONS} for file, targets in graph.items()
    }


def test_array_modules_are_named_in_few_places():
    wrong = {}
    for path in SOURCES:
        name = path.relative_to(ROOT / "xpconv").as_posix()
        found = {module.split(".")[0] for module in imports(path)} & {"numpy", "cupy"}
        allowed = (
            {"numpy"} if name in HOST or name.startswith(("kernels/numpy/", "kernels/engine/")) else set()
        )
        if name == "backend.py" or name.startswith("kernels/cupy/"):
            allowed = {"numpy", "cupy"}
        if not found <= allowed:
            wrong[name] = found - allowed
    assert not wrong


def test_arrows_point_one_way():
    assert not sorted(violations(without_known(import_graph())))


def test_no_circle():
    assert not circle(without_known(import_graph()))


def test_known_violations_exist():
    """What is mended leaves the list."""
    graph = import_graph()
    assert all(target in graph.get(file, ()) for file, target in KNOWN_VIOLATIONS)
    assert all(target in graph.get(file, ()) for file, target in FROM_LAYERS)


def test_modules_are_imported_by_statements():
    """`import_module` and `__import__` only where the name of the module is not the package's, or lazy."""
    for path in SOURCES:
        called = {node.id for node in ast.walk(parsed(path)) if isinstance(node, ast.Name)}
        if called & {"import_module", "importlib", "__import__"}:
            assert path.relative_to(ROOT / "xpconv").as_posix() in (
                "__init__.py",
                "data/__init__.py",
                "data/datasets.py",
            )


@pytest.mark.parametrize(
    "statement",
    [
        "from .conv import Conv2d",
        "from . import conv",
        "from ..layers.conv import Conv2d",
        "from ..layers import conv as c",
        "import xpconv.layers.conv",
        "from xpconv.layers.conv import *",
        "def late():\n    from .conv import Conv2d",
        "class Late:\n    def method(self):\n        import xpconv.layers.conv as conv",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .conv import Conv2d",
        "try:\n    from .conv import Conv2d\nexcept ImportError:\n    pass",
    ],
)
def test_a_planted_circle_is_found(tmp_path, statement):
    for file, text in {
        "__init__.py": "", "layers/__init__.py": "", "layers/layer.py": statement,
        "layers/conv.py": "from .layer import Layer",
    }.items():  # fmt: skip
        path = tmp_path / "xpconv" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    graph = import_graph(tmp_path)
    assert graph["layers/layer.py"] == {"layers/conv.py"}
    assert set(circle(graph)) == {"layers/layer.py", "layers/conv.py"}


@pytest.mark.parametrize(
    ("file", "target"),
    [
        ("backend.py", "layers/conv.py"),
        ("kernels/numpy/conv.py", "ops/conv.py"),
        ("kernels/numpy/conv.py", "kernels/cupy/conv.py"),
        ("kernels/engine/plans.py", "kernels/numpy/products.py"),
        ("kernels/cupy/conv.py", "kernels/engine/memory.py"),
        ("layers/conv.py", "kernels/numpy/conv.py"),
        ("layers/conv.py", "__init__.py"),
        ("optim/adam.py", "layers/layer.py"),
        ("losses/ctc.py", "layers/conv.py"),
        ("data/batches.py", "models/unet.py"),
    ],
)
def test_a_planted_arrow_upward_is_found(file, target):
    assert list(violations({file: {target}})) == [(file, target)]


def literal_names(path):
    """The `__all__` of a module, if it is written out."""
    for node in parsed(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def test_every_public_name_stands_in_the_all_of_its_module_alone():
    """Packages take the names of their modules: one that they forget is found, and one that is not defined."""
    homes = {path: literal_names(path) for path in SOURCES}
    for path, names in homes.items():
        defined = {
            name
            for node in parsed(path).body
            for name in (
                [node.name] if hasattr(node, "name") else map(ast.unparse, getattr(node, "targets", []))
            )
        }
        imported = {name.rpartition(".")[2] for name in imports(path)}  # xpconv.cuda gathers some
        assert len(names) == len(set(names))
        assert set(names) <= defined | imported
    for room in ("layers", "losses", "optim", "data", "data.transforms", "models", "files"):
        folder = ROOT.joinpath("xpconv", *room.split("."))
        names = [n for path, found in homes.items() if path.parent == folder for n in found]
        package = importlib.import_module(f"xpconv.{room}")
        assert sorted(names) == sorted(package.__all__)
        if room in ("layers", "losses", "optim", "files"):
            assert set(names) <= set(xpconv.__all__)
    assert len(xpconv.__all__) == len(set(xpconv.__all__))
    assert all(hasattr(xpconv, name) for name in xpconv.__all__)


@pytest.mark.parametrize("package", ["xpconv", "xpconv.layers", "xpconv.data.transforms", "xpconv.models"])
def test_star_imports_bring_the_public_names(package):
    names = {}
    exec(f"from {package} import *", names)  # noqa: S102
    assert set(names) - {"__builtins__"} == set(importlib.import_module(package).__all__)


@pytest.mark.parametrize("name", sorted(xpconv.__all__))
def test_public_names_are_documented(name):
    thing = getattr(xpconv, name)
    assert inspect.getdoc(thing)
    if (inspect.isclass(thing) and name not in ("Loss", "Optimizer")) or inspect.isfunction(thing):
        assert ">>> " in inspect.getdoc(thing), "give a runnable example"


# Files that are too long today; what is shortened leaves the set.
LONG: set[str] = set()


def test_files_and_functions_are_short():
    """At most 350 lines a file and 60 lines of code a function, docstrings not counted."""
    for path in SOURCES:
        text = path.read_text()
        name = path.relative_to(ROOT / "xpconv").as_posix()
        assert len(text.splitlines()) <= 350 or name in LONG, f"{name}: split it"
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef):
                doc = node.body[0] if ast.get_docstring(node) else None
                lines = node.end_lineno - node.lineno + 1 - (doc.end_lineno - doc.lineno + 1 if doc else 0)
                assert lines <= 60, f"{name}: {node.name} has {lines} lines"


def test_library_has_no_assert_and_no_pickle():
    for path in SOURCES:
        tree = parsed(path)
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Assert)], path
        assert not {m.split(".")[0] for m in imports(path)} & {"pickle", "shelve", "dill"}, path


LAYERS = [
    name
    for name in xpconv.__all__
    if inspect.isclass(getattr(xpconv, name)) and issubclass(getattr(xpconv, name), xpconv.Layer)
]


# What these name is not thereby checked.
NO_CHECKS = {"test_package.py", "test_errors.py", "test_torch_errors.py"}


class FileOfTests(NamedTuple):
    """What a file of tests has."""

    checks_layers: bool
    compares_with_torch: bool
    names: set[str]  # `xpconv.Dense`, `m.Dense`, `"Dense"`


@functools.cache
def all_tests():
    texts = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py") if path.name not in NO_CHECKS]
    names = [set(re.findall(r'\b(?:xpconv|m)\.\w+|"\w+"', text)) for text in texts]
    return [
        FileOfTests("assert_layer_ok" in t, "from oracle import" in t, n)
        for t, n in zip(texts, names, strict=True)
    ]


@pytest.mark.parametrize("name", [n for n in LAYERS if n not in ("Layer", "Linear")])
def test_every_public_layer_is_checked(name):
    """By the shared check, and against PyTorch where PyTorch has it: an unchecked layer fails here."""
    used = [test for test in all_tests() if test.names & {f"xpconv.{name}", f"m.{name}", f'"{name}"'}]
    assert any(test.checks_layers for test in used), f"no test calls assert_layer_ok for {name}"
    torch = pytest.importorskip("torch")
    if hasattr(torch.nn, name):
        assert any(test.compares_with_torch for test in used), f"no test compares {name} with PyTorch"


OTHERS = {*xpconv.losses.__all__, *xpconv.optim.__all__} - {"Loss", "Optimizer", "LRScheduler"}


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_every_public_loss_and_optimizer_is_checked(name):
    """And every schedule, and what else `xpconv.optim` holds: against PyTorch where PyTorch has it."""
    used = [test for test in all_tests() if test.names & {f"xpconv.{name}", f'"{name}"'}]
    assert used
    torch = pytest.importorskip("torch")
    for home in (torch.nn, torch.nn.utils, torch.optim, torch.optim.lr_scheduler):
        if hasattr(home, name):
            assert any(test.compares_with_torch for test in used)


def test_models_and_testing_come_when_asked_for():
    code = (
        "import sys, xpconv; print([m for m in ('cuda', 'models', 'testing') if f'xpconv.{m}' in sys.modules]);"
        "print(xpconv.models.unet.__name__, xpconv.testing.gradcheck.__name__)"
    )
    run = process.run([sys.executable, "-c", code])
    assert run.stdout == "[]\nunet gradcheck\n"
    with pytest.raises(AttributeError, match="module 'xpconv' has no attribute 'model'"):
        _ = xpconv.model


def test_pytorchs_names_say_what_to_use_here():
    for name, way in {
        "nn": r"xpconv\.Conv2d", "tensor": r"use xpconv\.asarray",
        "Module": r"xpconv\.Layer", "DataLoader": r"use xpconv\.data\.batches",
        "inference_mode": r"use xpconv\.no_grad\(\), and model\.eval\(\)",
    }.items():  # fmt: skip
        with pytest.raises(AttributeError, match=f"^module 'xpconv' has no attribute '{name}'; .*{way}"):
            getattr(xpconv, name)
    assert not any(hasattr(xpconv, name) for name in xpconv._ELSEWHERE)
    named = set(re.findall(r"xpconv\.([\w.]+)", " ".join(xpconv._ELSEWHERE.values())))
    assert len(named) > 10
    for path in named:  # what the hints name is there
        operator.attrgetter(path)(xpconv)
    with pytest.raises(AttributeError, match=r"^module 'xpconv' has no attribute 'modle'$"):
        _ = xpconv.modle


@pytest.mark.slow
@pytest.mark.parametrize("path", ["train/predict.py", "functional/dropout.py", "onnx/load.py"])
def test_the_doctests_of_one_module_run_alone(path):
    """Also if the package exports a function with the module's name, which conftest.py handles."""
    if path.startswith("onnx"):
        pytest.importorskip("onnx", reason='pip install -e ".[onnx]"')
    options = ["-q", "-p", "no:cacheprovider", "-m", "slow or not slow"]
    process.run([sys.executable, "-m", "pytest", *options, f"xpconv/{path}"], cwd=ROOT)
