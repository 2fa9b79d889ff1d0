"""What is public, on which page of the API reference it stands, and which methods are shown with it."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

PREFIXES = (  # modules whose public names a user writes
    "",
    ".init",
    ".data",
    ".data.transforms",
    ".models",
    ".functional",
    ".cuda",
    ".testing",
    ".onnx",
    ".train",
    ".distributed",
    ".sklearn",
    ".inspection",
    ".plot",
    ".errors",
    ".layers.operators",
)
PAGES = {  # path, without `.md`: title, and the files or folders of the package that it is for
    "layers/base": ("Layer, Parameter, no_grad", "layers.layer parameter tape"),
    "layers/containers": ("Containers and graphs", "layers"),
    "layers/convolution": (
        "Convolution layers",
        "layers.conv layers.conv_transpose layers.conv_separable layers.conv_lazy layers.fold",
    ),
    "layers/pooling": (
        "Pooling layers",
        "layers.pool layers.lp_pool layers.adaptive_pool layers.global_pool layers.unpool",
    ),
    "layers/normalization": (
        "Normalisation and dropout layers",
        "layers.norm layers.instance_norm layers.group_norm layers.layer_norm layers.dropout",
    ),
    "layers/activations": (
        "Activation layers",
        "layers.activation layers.shrink layers.smooth layers.softmax layers.pointwise",
    ),
    "layers/dense": (
        "Dense and embedding layers",
        "layers.linear layers.lazy layers.embedding layers.blocks",
    ),
    "layers/shape": ("Shape, padding and resampling layers", "layers.shape layers.padding layers.resample"),
    "layers/operators": ("Operators: layers for graphs", "layers.operators layers.constant"),
    "functional/convolution": (
        "Functions: convolution and affine maps",
        "functional.conv functional.conv_gradients functional.conv_transpose "
        "functional.fold functional.linear",
    ),
    "functional/pooling": (
        "Functions: pooling",
        "functional.max_pool functional.avg_pool functional.lp_pool "
        "functional.adaptive_pool functional.unpool",
    ),
    "functional/activations": (
        "Functions: activations",
        "functional.activation functional.shrink functional.smooth functional.softmax",
    ),
    "functional/losses": (
        "Functions: losses",
        "functional.loss_binary functional.loss_classification functional.loss_likelihood "
        "functional.loss_multilabel functional.loss_ranking functional.loss_regression",
    ),
    "functional/others": ("Functions: normalisation, padding, dropout and others", "functional"),
    "losses": ("Losses", "losses"),
    "optimizers": ("Optimizers", "optim"),
    "schedules": (
        "Learning rate schedules",
        "optim.schedule optim.rates optim.one_cycle optim.plateau optim.composed",
    ),
    "train": ("Training: xpconv.train", "train"),
    "data": ("Data: xpconv.data", "data"),
    "transforms": ("Transforms of images: xpconv.data.transforms", "data.transforms"),
    "models": ("Models: xpconv.models", "models"),
    "files": ("Saving and loading", "files"),
    "onnx": ("ONNX: xpconv.onnx", "onnx"),
    "sklearn": ("scikit-learn: xpconv.sklearn", "sklearn"),
    "inspection": ("Looking inside: xpconv.inspection", "inspection"),
    "plot": ("Pictures: xpconv.plot", "plot"),
    "testing": ("Checks of gradients: xpconv.testing", "testing"),
    "backend": ("The switch: backends and arrays", "backend array_library arrays"),
    "random": ("Random numbers and initial values", "random init"),
    "speed": ("Speed: algorithms, threads and memory", "kernels explain"),
    "cuda": ("The GPU: xpconv.cuda", "cuda kernels.precision"),
    "distributed": ("Several processes: xpconv.distributed", "distributed"),
    "errors": ("Errors", "errors"),
}


def page_of(home: str) -> str | None:
    """The page of a module of the package: that with the longest prefix of its name."""
    fitting = [
        (len(prefix), path)
        for path, (_, prefixes) in PAGES.items()
        for prefix in prefixes.split()
        if f"{home}.".startswith(f"xpconv.{prefix}.")
    ]
    return max(fitting)[1] if fitting else None


def public() -> dict[str, Any]:
    """All public things by the name that a user writes."""
    found: dict[str, Any] = {}
    for prefix in PREFIXES:
        module = importlib.import_module(f"xpconv{prefix}")
        names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
        for name in names:
            thing = getattr(module, name)
            home = getattr(thing, "__module__", "")
            if home.startswith(module.__name__) and page_of(home):
                found[f"xpconv{prefix}.{name}"] = thing
    return found


def homes() -> dict[str, str]:
    """The name that a user writes to the path of the definition, such as `xpconv.layers.conv.Conv2d`."""
    return {name: f"{thing.__module__}.{thing.__qualname__}" for name, thing in public().items()}


def methods(kind: type, documented: set[type]) -> tuple[list[str], list[str]]:
    """The public methods of a class: its own and of private bases, and those of documented bases."""
    own, inherited = [], []
    for name in sorted(dir(kind)):
        owner = next(base for base in kind.__mro__ if name in vars(base))
        member = vars(owner)[name]
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        written = (
            inspect.isfunction(function) and "<locals>" not in function.__qualname__ and function.__doc__
        )
        if name.startswith("_") or not written or not owner.__module__.startswith("xpconv"):
            continue
        of_base = any(issubclass(base, owner) for base in kind.__mro__[1:] if base in documented)
        (inherited if owner is not kind and of_base else own).append(name)
    return own, inherited


def api_pages() -> dict[str, str]:
    """Path of each page of the reference to its Markdown."""
    things = public()
    names = {thing: name for name, thing in things.items() if thing.__name__ == short(name)}
    documented = {thing for thing in things.values() if inspect.isclass(thing)}
    entries: dict[str, dict[str, str]] = {path: {} for path in PAGES}
    for name, thing in things.items():
        path = page_of(thing.__module__)
        assert path is not None
        entries[path][name] = entry(name, thing, names, documented)
    result = {"api/index.md": index(entries)}
    for path, (title, _) in PAGES.items():
        listed = " · ".join(f"[`{short(n)}`](#{n})" for n in sorted(entries[path], key=str.lower))
        texts = [entries[path][name] for name in sorted(entries[path], key=str.lower)]
        result[f"api/{path}.md"] = "\n\n".join([f"# {title}", listed, *texts]) + "\n"
    return result


def short(name: str) -> str:
    """The last part of a name."""
    return name.rpartition(".")[2]


def entry(name: str, thing: Any, names: dict[Any, str], documented: set[type]) -> str:
    """One public thing, for mkdocstrings, with the methods that a user calls."""
    if names[thing] != name:
        home = names[thing]
        heading = f'## {name} {{ #{name} data-toc-label="{short(name)}" }}'
        return f"{heading}\n\nAnother name for [`{short(home)}`](#{home})."
    lines = [f"::: {name}"]
    if not inspect.isclass(thing):
        return lines[0]
    own, inherited = methods(thing, documented)
    private = [n for n in own if n not in vars(thing)]
    lines += ["    options:", f"      members: {own}" if own else "      members: false"]
    lines += [f"      inherited_members: {private}"] if private else []
    if inherited:
        by_base: dict[str, list[str]] = {}
        for method in inherited:
            owner = next(base for base in thing.__mro__ if method in vars(base))
            base = next(b for b in reversed(thing.__mro__) if b in documented and issubclass(b, owner))
            by_base.setdefault(names[base], []).append(method)
        lines.append("")
        for base_name, found in by_base.items():
            links = ", ".join(f"[`{method}`][{base_name}.{method}]" for method in found)
            lines += [f"Methods of [`{short(base_name)}`][{base_name}]: {links}.", ""]
    return "\n".join(lines)


def index(entries: dict[str, dict[str, str]]) -> str:
    """The first page of the reference: each page with the names on it."""
    lines = ["# Reference", "", "Shapes, formulas, errors and an example for each public name.", ""]
    for path, (title, _) in PAGES.items():
        listed = ", ".join(f"[`{short(n)}`]({path}.md#{n})" for n in sorted(entries[path], key=str.lower))
        lines += [f"**[{title}]({path}.md)**: {listed}", ""]
    return "\n".join(lines)
