"""Checks of a layer's inputs."""

from __future__ import annotations

from typing import Any

from ..backend import Array, Backend, backend_of
from ..dtypes import byte_order_error, is_floating
from ..errors import BackendError, DTypeError, ShapeError
from ..parameter import Parameter
from ..taped import Taped


class Checks(Taped):
    """Base of layers, with the checks of inputs that their `forward` begins with."""

    def _enter(self, x: Array, *parameters: Parameter | Array | None, or_narrower: bool = False) -> Any:
        """Check that `x` is a floating array on the parameters' backend and of their dtype; return `xp`.

        With `or_narrower`, `x` may be float16 or bfloat16 if the parameters are float32.
        """
        name = type(self).__name__
        owner = self._owner(x)
        for parameter in parameters:
            if parameter is None:
                continue
            data = parameter.data if isinstance(parameter, Parameter) else parameter
            if type(data) is type(x) and data.dtype == x.dtype:
                continue
            try:
                home = backend_of(data)
            except BackendError as error:
                raise BackendError(f"{name}.forward: a parameter or buffer: {error}") from None
            if home is not owner:
                raise BackendError(
                    f"{name}.forward: x is {owner.name} but its parameters are {home.name}; call "
                    f"layer.to({owner.name!r}) or xpconv.asarray(x, backend={home.name!r})"
                )
            if x.dtype == data.dtype or not is_floating(x.dtype):
                continue
            if not (or_narrower and data.dtype == "float32" and x.dtype.itemsize == 2):
                raise DTypeError(
                    f"{name}.forward: x is {x.dtype} but the parameters are {data.dtype}; use "
                    f"x.astype('{data.dtype}') or layer.to(dtype='{x.dtype}')"
                )
        if x.dtype.kind != "f" and not is_floating(x.dtype):
            raise DTypeError(
                f"{name}.forward: x is {x.dtype}, expected floating point; convert it, e.g. images 0…255 "
                "with x.astype('float32') / 255"
            )
        return owner.xp

    def _single(self, outputs: list[Any]) -> list[Any]:
        """`outputs`, of layers in this one; an error if one of them is a tuple."""
        if tuple in map(type, outputs):
            raise TypeError(
                f"{type(self).__name__}.forward: a layer in it gives several outputs, expected one array"
            )
        return outputs

    def _enter_images(
        self, x: Array, axes: int, channels: int | None = None, why: str = "", weight: Parameter | None = None
    ) -> tuple[Any, Array, bool]:
        """`_enter` and `_images`: return `xp`, batched images, and whether `x` was batched.

        One error for both.
        """
        try:
            xp = self._enter(x, weight)
        except DTypeError as error:
            try:
                self._images(x, axes, channels, why)
            except ShapeError as other:
                text = str(other).removeprefix(f"{type(self).__name__}.forward: ")
                raise DTypeError(f"{error}; besides, {text}") from None
            raise
        return xp, *self._images(x, axes, channels, why)

    def _owner(self, x: Array, argument: str = "x") -> Backend:
        """Check that `x` is an array, and return its backend."""
        where = f"{type(self).__name__}.forward: {argument}"
        try:
            owner = backend_of(x)
        except BackendError as error:
            raise BackendError(f"{where}: {error}") from None
        if not x.dtype.isnative:
            raise byte_order_error(where, x)
        return owner

    def _images(self, x: Array, axes: int, channels: int | None = None, why: str = "") -> tuple[Array, bool]:
        """Check rank and channels of images; return them as a batch, and whether `x` was one."""
        name = type(self).__name__
        spatial = {1: "L", 2: "H, W", 3: "D, H, W"}[axes]
        if x.ndim not in (axes + 1, axes + 2):
            c = "C" if channels is None else channels
            raise ShapeError(
                f"{name}.forward: x has shape {x.shape}, expected (N, {c}, {spatial}) or ({c}, {spatial})"
            )
        batched = x.ndim == axes + 2
        if channels is not None and x.shape[-axes - 1] != channels:
            given = x.shape[-axes - 1]
            raise ShapeError(
                f"{name}.forward: x has shape {x.shape}, so {given} channel{'s' * (given != 1)}, "
                f"expected {channels} ({why}){self._meant(x, batched, channels, spatial)}"
            )
        if 0 in x.shape[-axes - 1 :]:
            raise ShapeError(f"{name}.forward: x has shape {x.shape}: only the batch may be empty")
        return (x if batched else x[None]), batched

    def _meant(self, x: Array, batched: bool, channels: int, spatial: str) -> str:
        """The hint in an error for images in another layout, or of other colours."""
        last, given = x.shape[-1], x.shape[-1 - len(spatial.split(", "))]
        if last == channels:
            return f"; channels come before {spatial}: give numpy.moveaxis(x, -1, {-x.ndim + batched})"
        flat = spatial == "H, W"
        if flat and channels == 3 and given == 1:
            return "; gray images are repeated for three channels: give x.repeat(3, axis=-3)"
        if flat and channels == 1 and last in (3, 4) and given > 4:
            return f"; for colours make the layer with {last} channels, and give numpy.moveaxis(x, -1, -3)"
        several = ""
        if not batched and channels == 1:
            one, many = {"L": ("sequence", "ones of one channel"), "H, W": ("image", "gray ones")}.get(
                spatial, ("volume", "ones of one channel")
            )
            several = f"; this is one {one} ({given}, {spatial}): for a batch of {many} give x[:, None]"
        if flat and channels == 1 and given in (3, 4):
            return f"; for colours make the layer with {given} channels, or give gray images{several}"
        return several
