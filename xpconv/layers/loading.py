"""Reading state dicts and their files for `load_state_dict`, and the errors if they do not fit the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ..arrays import asarray, asnumpy, from_tensor, read_npz
from ..backend import Array, backend_of
from ..dtypes import is_floating
from ..errors import BackendError, DTypeError, ShapeError, StateDictError

MOST = 5  # names listed in an error
INSIDE = ("state_dict", "model_state_dict", "model", "module", "net", "weights")  # usual keys in checkpoints
WRAPPERS = {"module.": "DataParallel's", "_orig_mod.": "torch.compile's"}


class LoadResult(NamedTuple):
    """The names that `load_state_dict(strict=False)` did not find in the state, or not in the model."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def read_state(where: str, state: Any) -> dict[str, Any]:
    """Names and arrays of a mapping, or of the file that a path names; `where` begins the errors."""
    if isinstance(state, str | os.PathLike):
        state = _read_file(where, state)
    if not isinstance(state, Mapping):
        hint = "; pass its state_dict()" if hasattr(state, "state_dict") else ""
        raise TypeError(
            f"{where}: state is {type(state).__name__}, expected a mapping of names to arrays, such as "
            f"model.state_dict() returns, or the path of a safetensors or npz file{hint}"
        )
    found = {}
    for key in state:
        if not isinstance(key, str):
            raise TypeError(
                f"{where}: state has the key {key!r}, expected strings, the names in model.state_dict()"
            )
        try:
            found[key] = from_tensor(state[key])
        except (ValueError, TypeError, RuntimeError) as error:  # NumPy's of pickled objects; PyTorch's
            raise StateDictError(f"{where}: {key} cannot be read: {error}") from error
    return found


def _read_file(where: str, path: str | os.PathLike[str]) -> Mapping[str, Any]:
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    readers: dict[str, Callable[[Any], Mapping[str, Any]]] = {".npz": read_npz}
    if suffix == ".safetensors":
        try:
            from safetensors.numpy import load_file
        except ImportError as error:
            raise ImportError(f"{where}({str(path)!r}) needs safetensors: pip install safetensors") from error
        readers[suffix] = load_file
    elif suffix not in readers:
        torchs = suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".tar")
        way = "load_state_dict(torch.load(path, map_location='cpu', weights_only=True))"
        raise StateDictError(
            f"{where}: state is the path {str(path)!r}, which does not end in .safetensors or .npz; "
            + (
                f"read a PyTorch file with PyTorch: {way}"
                if torchs
                else "rename it, or give a mapping of names to arrays"
            )
        )
    if not os.path.exists(path):
        raise FileNotFoundError(f"{where}: there is no file {str(path)!r} (from {os.getcwd()!r})")
    try:
        return readers[suffix](path)
    except OSError as error:  # a folder, or no permission to read the file
        raise OSError(f"{where}: state is the path {str(path)!r}: {error}") from error
    except Exception as error:  # of safetensors, zipfile or NumPy
        raise StateDictError(
            f"{where}: {str(path)!r} cannot be read as {suffix[1:]} file of arrays ({error})"
        ) from error


def compare(
    where: str, own: Mapping[str, Array], state: Mapping[str, Any], strict: bool
) -> tuple[dict[str, Array], LoadResult]:
    """The arrays of `state` that replace those of `own`, and the names that only one of the two has."""
    result = LoadResult(
        # As in PyTorch, the counter may be missing from old states; the model's then stays unchanged.
        [k for k in own if k not in state and k.rpartition(".")[2] != "num_batches_tracked"],
        [k for k in state if k not in own],
    )
    new, wrong = {}, []
    for key in [k for k in own if k in state]:
        value = _real(f"{where}: {key}", state[key], own[key])
        if value.shape == own[key].shape:
            new[key] = value
        else:
            wrong.append(f"{key} has shape {tuple(value.shape)}, expected {own[key].shape}")
    problems = []
    if strict and result.missing_keys:
        problems.append(f"missing: {_few(result.missing_keys)}")
    if strict and result.unexpected_keys:
        problems.append(f"unexpected: {_few(result.unexpected_keys)}")
    if wrong:
        problems.append(_few(wrong, "; "))
    if problems:
        if strict and not new and not wrong:
            problems.insert(0, _diagnosis(own, state))
        raise StateDictError(f"{where}: " + "; ".join(filter(None, problems)))
    return new, result


def _real(what: str, value: Any, like: Array) -> Array:
    """An array of real numbers, converted to the dtype and backend of `like`."""
    try:
        if not hasattr(getattr(value, "dtype", None), "kind"):
            value = asnumpy(value)
        if value.dtype.kind in "biuf" or is_floating(value.dtype):
            return asarray(value, like.dtype, backend=backend_of(like).name)
    except (BackendError, DTypeError, ShapeError) as error:  # such as a masked array
        raise type(error)(f"{what}: {error}") from None
    raise DTypeError(f"{what} is an array of {value.dtype}, expected real numbers")


def _few(names: list[str], separator: str = ", ") -> str:
    rest = len(names) - MOST
    return separator.join(names[:MOST]) + (f" and {rest:,} more" if rest > 0 else "")


def _diagnosis(own: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """A likely reason why no name of the state is in the model; empty if none is found."""
    inside = {k: v for k, v in state.items() if isinstance(v, Mapping)}
    for key in sorted(inside, key=lambda k: (not _share(own, inside[k]), k not in INSIDE)):
        if key in INSIDE or _share(own, inside[key]):
            return f"this is a checkpoint of more than the model; the weights seem to be in state[{key!r}]"
    for first in dict.fromkeys(name.partition(".")[0] for name in state) if own else ():
        if all(f"{first}.{name}" in state for name in own) and any(not k.startswith(first) for k in state):
            return (
                f"this is a checkpoint of more than the model, whose names begin with '{first}.'; a file of "
                f"xpconv.save is loaded by xpconv.load(path, {first}=model)"
            )
    prefix = _common(state, own)
    if prefix:
        whose = next((f" ({text})" for start, text in WRAPPERS.items() if prefix.startswith(start)), "")
        return (
            f"all names begin with {prefix!r}{whose}; remove it: "
            f"{{k.removeprefix({prefix!r}): v for k, v in state.items()}}"
        )
    prefix = _common(own, state)
    if prefix:
        return (
            f"all names in the model begin with {prefix!r}, and those of the state do not; load it into that "
            "layer"
        )
    return ""


def _share(own: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Whether the model has some of these names, perhaps after removing a common prefix."""
    names = [name for name in names if isinstance(name, str)]
    return any(name in own for name in names) or bool(_common(names, own))


def _common(names: Iterable[str], others: Iterable[str]) -> str:
    """The common prefix of all `names`, up to a dot, without which some are in `others`.

    Empty if there is none.
    """
    left, others, prefix = list(names), set(others), ""
    while left:
        first = left[0].partition(".")[0] + "."
        if not all(name.startswith(first) for name in left):
            return ""
        left, prefix = [name.removeprefix(first) for name in left], prefix + first
        if any(name in others for name in left):
            return prefix
    return ""
