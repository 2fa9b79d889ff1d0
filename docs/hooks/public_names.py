"""What is public, on which page of the API reference it is, and which methods are shown with it."""

from __future__ import annotations

import functools
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
        "Convolution and linear functions",
        "functional.conv functional.conv_gradients functional.conv_transpose "
        "functional.fold functional.linear",
    ),
    "functional/pooling": (
        "Pooling functions",
        "functional.max_pool functional.avg_pool functional.lp_pool "
        "functional.adaptive_pool functional.unpool",
    ),
    "functional/activations": (
        "Activation functions",
        "functional.activation functional.shrink functional.smooth functional.softmax",
    ),
    "functional/losses": (
        "Loss functions",
        "functional.loss_binary functional.loss_classification functional.loss_likelihood "
        "functional.loss_multilabel functional.loss_ranking functional.loss_regression",
    ),
    "functional/others": ("Normalisation, padding, dropout and other functions", "functional"),
    "losses": ("Losses", "losses"),
    "optimizers": ("Optimizers", "optim"),
    "schedules": (
        "Learning rate schedules",
        "optim.schedule optim.rates optim.one_cycle optim.plateau optim.composed",
    ),
    "train": ("Training", "train"),
    "data": ("Data", "data"),
    "transforms": ("Transforms of images", "data.transforms"),
    "models": ("Models", "models"),
    "files": ("Saving and loading", "files"),
    "onnx": ("ONNX", "onnx"),
    "sklearn": ("scikit-learn", "sklearn"),
    "inspection": ("Looking inside", "inspection"),
    "plot": ("Pictures", "plot"),
    "testing": ("Checks of gradients", "testing"),
    "backend": ("The switch: backends and arrays", "backend array_library arrays"),
    "random": ("Random numbers and initial values", "random init"),
    "speed": ("Speed: algorithms, threads and memory", "kernels explain"),
    "cuda": ("The GPU", "cuda kernels.precision"),
    "distributed": ("Several processes", "distributed"),
    "errors": ("Errors", "errors"),
}
SECTIONS = {"layers": "Layers", "functional": "Functions"}


def page_of(home: str) -> str | None:
    """The page of a module of the package: that with the longest prefix of its name."""
    fitting = [
        (len(prefix), path)
        for path, (_, prefixes) in PAGES.items()
        for prefix in prefixes.split()
        if f"{home}.".startswith(f"xpconv.{prefix}.")
    ]
    return max(fitting)[1] if fitting else None


@functools.cache
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


def written(kind: type) -> dict[str, type]:
    """The public methods of a class that have a docstring, each with the class that has it."""
    found = {}
    for name in sorted(dir(kind)):
        for owner in kind.__mro__:
            member = vars(owner).get(name)
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
            ours = inspect.isfunction(function) and "<locals>" not in function.__qualname__
            if ours and function.__doc__ and owner.__module__.startswith("xpconv"):
                found[name] = owner
                break
    return {name: owner for name, owner in found.items() if not name.startswith("_")}


def methods(kind: type, documented: set[type]) -> tuple[list[str], dict[str, type]]:
    """The methods of a class and of its private bases; and those of documented bases, with the base."""
    own, inherited = [], {}
    bases = [base for base in reversed(kind.__mro__[1:]) if base in documented]
    for name, owner in written(kind).items():
        base = next((base for base in bases if owner is not kind and issubclass(base, owner)), None)
        if base:
            inherited[name] = base
        else:
            own.append(name)
    return own, inherited


def api_pages() -> dict[str, str]:
    """Path of each page of the reference to its Markdown, and the order of the pages."""
    entries: dict[str, dict[str, str]] = {path: {} for path in PAGES}
    things = public()
    bases = {base for thing in things.values() if inspect.isclass(thing) for base in thing.__mro__[1:]}
    for name, thing in sorted(things.items(), key=lambda item: (item[1] not in bases, item[0].lower())):
        entries[page_of(thing.__module__) or ""][name] = entry(name, thing)
    result = {"api/index.md": index(entries), "api/.nav.yml": order()}
    for path, (title, _) in PAGES.items():
        listed = " · ".join(f"[`{short(name)}`](#{name})" for name in entries[path])
        listed += "\n{: data-search-exclude }"  # searches find the entries instead
        last = (
            "---\nsearch: {boost: 0.3}\n---\n" if path == "layers/operators" else ""
        )  # searches rank layers higher
        text = "\n\n".join([f"# {title}", listed, *entries[path].values()])
        result[f"api/{path}.md"] = f"{last}{text}\n"
    return result


def short(name: str) -> str:
    """The last part of a name."""
    return name.rpartition(".")[2]


def entry(name: str, thing: Any) -> str:
    """One public thing, for mkdocstrings, with the methods that a user calls."""
    if thing.__name__ != short(name):
        home = name.removesuffix(short(name)) + thing.__name__
        heading = f'## {name} {{ #{name} data-toc-label="{short(name)}" }}'
        return f"{heading}\n\nAnother name for [`{thing.__name__}`](#{home})."
    if not inspect.isclass(thing):
        return f"::: {name}"
    own, _ = methods(thing, classes())
    private = [method for method in own if method not in vars(thing)]
    options = [
        f"      members: {own or 'false'}",
        *([f"      inherited_members: {private}"] if private else []),
    ]
    return "\n".join([f"::: {name}", "    options:", *options])


def classes() -> set[type]:
    """The classes of the reference."""
    return {thing for thing in public().values() if inspect.isclass(thing)}


def inherited_methods(kind: type) -> str:
    """Links to the methods of documented bases, as Markdown."""
    if kind.__module__.startswith("xpconv.layers.operators."):  # which few call by name
        return "Methods: those of [`Layer`][xpconv.Layer]."
    names = {thing: name for name, thing in public().items() if thing.__name__ == short(name)}
    by_base: dict[str, list[str]] = {}
    for method, base in methods(kind, classes())[1].items():
        by_base.setdefault(names[base], []).append(f"[`{method}`][{names[base]}.{method}]")
    return "\n\n".join(
        f"**Methods of [`{short(base)}`][{base}]:** {', '.join(links)}." for base, links in by_base.items()
    )


def order() -> str:
    """The reference in the site's navigation, in the order of `PAGES`, with a section for each folder."""
    lines, folder = ["nav:", "  - index.md"], ""
    for path in PAGES:
        if path.rpartition("/")[0] != folder:
            folder = path.rpartition("/")[0]
            lines += [f"  - {SECTIONS[folder]}:"] if folder else []
        lines.append(f"{'      ' if folder else '  '}- {path}.md")
    return "\n".join(lines) + "\n"


def index(entries: dict[str, dict[str, str]]) -> str:
    """The first page of the reference: each page with the names on it."""
    lines = [
        "---\nsearch: {exclude: true}\n---",
        "# Reference",
        "",
        "Shapes, formulas, errors and an example for each public name.",
        "",
    ]
    for path, (title, _) in PAGES.items():
        listed = ", ".join(f"[`{short(n)}`]({path}.md#{n})" for n in entries[path])
        lines += [f"**[{title}]({path}.md)**: {listed}", ""]
    return "\n".join(lines)
