"""What `load_state_dict` reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import StateDictError


class LoadResult(NamedTuple):
    """What `load_state_dict(strict=False)` left undone."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def read_safetensors(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ImportError(
            f'load_state_dict({str(path)!r}) needs safetensors: pip install "xpconv[safetensors]"'
        ) from error
    try:
        arrays: dict[str, Any] = load_file(path)
    except OSError:
        raise
    except Exception as error:  # safetensors' own, which is no ValueError
        raise StateDictError(
            f"load_state_dict({str(path)!r}): this is no safetensors file ({error}); read others first: "
            "load_state_dict(np.load(path)), or load_state_dict(torch.load(path, weights_only=True))"
        ) from error
    return arrays


def untorched(value: Any) -> Any:
    """A PyTorch tensor as one that NumPy can read, which has no bfloat16; all else as it is."""
    if not hasattr(value, "detach"):
        return value
    value = value.detach().cpu()
    return value.float() if str(value.dtype) == "torch.bfloat16" else value
