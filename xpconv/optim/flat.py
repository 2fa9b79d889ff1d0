"""The memory of an optimizer: all parameters in one flat buffer, all gradients in another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise
from math import prod
from typing import Any, NamedTuple

from ..backend import Array, Backend, backend_of, ignore_underflow, use_backend
from ..dtypes import is_floating
from ..errors import BackendError, DTypeError, ShapeError
from ..kernels import overrides
from ..kernels.graph import capturing, hold
from ..ops.optim import gather
from ..parameter import Parameter
from .sharing import check_apart, check_one_device, on_device_of, place

NARROW = ("float16", "bfloat16")  # parameters of these dtypes have a float32 master copy, which is updated


class Layout(NamedTuple):
    """Backend, shapes and dtypes that the buffers were made for; the parameters may have changed since."""

    backend: str
    shapes: list[tuple[int, ...]]
    dtypes: list[str]
    channels_last: bool = False  # whether weights of convolutions are that in memory, as kernels expect them


class Flat:
    """Flat buffers, and parameters whose `data` are views of them.

    `_data` has all parameters one after the other, in float32 if some are float16 or bfloat16; these are then
    views of `_narrowed`, which gets the rounded values. `_moments` are further buffers like `_data`, by name.
    """

    _params: list[Parameter]
    _averaging: Any = None  # `distributed.parallel.Averaging`, of processes that train together
    _averaged = False  # whether the gradients are the means over the processes

    @property
    def _backend(self) -> Backend:
        return backend_of(self._data)

    def _layout_of(self, params: list[Parameter]) -> Layout:
        """Check `params` and return the layout of buffers for them."""
        name = type(self).__name__
        if not params:
            raise ValueError(f"{name}: params is empty; give model.parameters()")
        if len({id(p) for p in params}) < len(params):
            raise ValueError(f"{name}: params holds a parameter twice")
        try:
            backend = backend_of(*(p.data for p in params))
        except BackendError as error:
            raise BackendError(f"{name}: params: {error}") from None
        for i, parameter in enumerate(params):
            if not is_floating(parameter.dtype):
                raise DTypeError(
                    f"{name}: {place(params, i)} is {parameter.dtype}, expected a floating dtype"
                )
        dtypes = sorted({str(p.dtype) for p in params})
        narrow = [d for d in dtypes if d in NARROW]
        if len(dtypes) > 1 and (len(narrow) != 1 or dtypes != sorted(["float32", *narrow])):
            raise DTypeError(
                f"{name}: params are of {' and '.join(dtypes)}; call model.to(dtype={dtypes[0]!r})"
            )
        check_one_device(name, params)
        check_apart(name, params)
        before: Layout | None = vars(self).get("_layout")  # moments have its order
        channels_last = bool(overrides(backend.xp).get("gather")) if before is None else before.channels_last
        shapes, dtypes = [p.shape for p in params], [str(p.dtype) for p in params]
        return Layout(backend.name, shapes, dtypes, channels_last)

    def _allocate(self, layout: Layout) -> None:
        """Make the buffers, on the parameters' device, and a view for each parameter."""
        self._layout = layout
        with use_backend(layout.backend) as xp, on_device_of(self._params[0].data):
            stops = accumulate(map(prod, layout.shapes), initial=0)
            self._slices = [slice(a, b) for a, b in pairwise(stops)]
            size = self._slices[-1].stop
            narrow = next((d for d in layout.dtypes if d in NARROW), None)
            self._data = xp.zeros(size, dtype="float32" if narrow else layout.dtypes[0])
            self._narrowed: Array = xp.zeros(size, dtype=narrow) if narrow else None
        pairs = zip(layout.dtypes, self._slices, strict=True)
        self._narrow_runs = [  # ranges of the buffers with consecutive float16 or bfloat16 parameters
            slice(members[0][1].start, members[-1][1].stop)
            for is_narrow, group in groupby(pairs, lambda pair: pair[0] in NARROW)
            if is_narrow and (members := list(group))
        ]
        self._data_views = self._views(self._data)
        if narrow:
            rounded = self._views(self._narrowed)
            for i, dtype in enumerate(layout.dtypes):
                self._data_views[i] = rounded[i] if dtype in NARROW else self._data_views[i]
        self._grad: Array = None  # the gradients during a step: one of the two following buffers
        self._copied: tuple[Array, list[Array]] | None = None  # copies of the gradients: buffer and views
        self._unscaled: tuple[Array, list[Array]] | None = None  # gradients from `unscale_`: buffer and views

    def _views(self, flat: Array) -> list[Array]:
        return [self._view(flat, i) for i in range(len(self._slices))]

    def _view(self, flat: Array, i: int) -> Array:
        """Parameter `i`'s part of a flat buffer, in its shape."""
        return view_as(flat[self._slices[i]], self._layout.shapes[i], self._layout.channels_last)

    def _flatten(self, layout: Layout) -> None:
        """Make the buffers and turn every parameter's data into a view of them."""
        self._allocate(layout)
        wide = self._views(self._data)
        for parameter, view, master in zip(self._params, self._data_views, wide, strict=True):
            master[...] = parameter.data
            if view is not master:
                view[...] = parameter.data
            parameter._place(view)

    def _restore(self, layout: Layout, masters: Array | None) -> None:
        """As `_flatten`, for a copy; leaves moved parameters alone, so that `_checked` can report them."""
        self._allocate(layout)
        if masters is not None:
            self._data[...] = masters
        for parameter, view in zip(self._params, self._data_views, strict=True):
            try:
                found = backend_of(parameter.data)
            except BackendError:
                continue
            if (found.name, parameter.dtype, parameter.shape) == (layout.backend, view.dtype, view.shape):
                view[...] = parameter.data
                parameter._place(view)

    # --- changes by users between steps ------------------------------------------------------------

    def _present(self) -> list[bool]:
        """For each parameter, whether a step updates it: it has a gradient and is not frozen."""
        return [p.grad is not None and p.requires_grad for p in self._params]

    def _adopt(self, where: str, present: Sequence[bool] = ()) -> None:
        """Check the gradients and the arrays assigned to `.data`; then copy the latter into the buffers."""
        shapes, array_type = self._layout.shapes, type(self._data)
        for i, (here, view) in enumerate(zip(present, self._data_views, strict=bool(present))):
            grad: Any = self._params[i].grad
            if here and (type(grad) is not array_type or grad.dtype != view.dtype or grad.shape != shapes[i]):
                self._checked(where, i, "grad", grad)
        incoming = []
        for i, (parameter, view) in enumerate(zip(self._params, self._data_views, strict=True)):
            if parameter.data is not view:
                array = self._checked(where, i, "data", parameter.data)
                incoming.append((parameter, view, self._apart(array)))
        if incoming:
            check_apart(where, self._params)
        for parameter, view, array in incoming:
            view[...] = array
            parameter._place(view)
        if self._narrowed is not None:
            self._widen()

    def _checked(self, where: str, i: int, attribute: str, array: Any) -> Array:
        """`array`, if it fits. A gradient may have the dtype of its parameter or that of `_data`."""
        view = self._data_views[i]
        try:
            backend = backend_of(array)
        except BackendError as error:
            raise BackendError(f"{where}: {place(self._params, i)}.{attribute}: {error}") from None
        known = array.dtype == view.dtype or (attribute == "grad" and array.dtype == self._data.dtype)
        if not known or backend is not self._backend:
            raise RuntimeError(
                f"{where}: {place(self._params, i)}.{attribute} is now {array.dtype} on {backend.name}, but "
                f"the optimizer holds {view.dtype} on {self._backend.name}; make the optimizer after "
                "model.to(…)"
            )
        if array.shape != view.shape:
            raise ShapeError(
                f"{where}: {place(self._params, i)}.{attribute} has shape {array.shape}, "
                f"expected {view.shape}"
            )
        return array

    def _apart(self, array: Array) -> Array:
        """`array`, or a copy if it may be a view of the buffers, which are about to be written."""
        if getattr(array, "base", array) is not None:
            buffers = [flat for flat in (self._data, self._narrowed) if flat is not None]
            if any(self._backend.may_share_memory(array, flat) for flat in buffers):
                return array.copy()
        return array

    def _gather(self, present: Sequence[bool]) -> None:
        """Set `_grad` to a copy of the gradients, or to the buffer of which they are views already.

        That is the one of `unscale_`, or of `cuda.graphed`, whose views lie as the parameters do.

        `parameter.grad` remains the same array, which later steps do not change.
        """
        given = list(zip(self._params, present, strict=True))
        if self._unscaled is not None:
            flat, views = self._unscaled
            if all(p.grad is view for (p, here), view in zip(given, views, strict=True) if here):
                self._grad = flat
                return
            self._unscaled = None
        shared = self._shared_buffer(given)
        if shared is not None:
            self._grad = shared
            hold(shared)
            return
        if self._copied is None:
            flat = self._backend.xp.empty_like(self._data)
            self._copied = flat, self._views(flat)
        self._grad, views = self._copied
        pairs = [(p.grad, view) for (p, here), view in zip(given, views, strict=True) if here]
        gather(self._backend.xp, [grad for grad, _ in pairs], [view for _, view in pairs])
        if capturing():
            for array in (self._grad, *(grad for grad, _ in pairs)):
                hold(array)

    def _shared_buffer(self, given: list[tuple[Parameter, bool]]) -> Array | None:
        """The array of which all gradients are views, if they lie in it as the parameters in `_data`."""
        places = zip(given, self._data_views, strict=True)
        present: list[tuple[Any, Array]] = [(p.grad, view) for (p, here), view in places if here]
        if not hasattr(self._backend.xp, "cuda"):
            return None
        base, data = present[0][0].base, self._data
        if base is None:
            return None
        if base.shape != data.shape or base.dtype != data.dtype:
            return None
        start = base.data.ptr - data.data.ptr
        alike = all(
            grad.base is base and grad.data.ptr - view.data.ptr == start and grad.strides == view.strides
            for grad, view in present
        )
        return base if alike else None

    def _move_gradients(self, present: Sequence[bool]) -> Array:
        """Move the gradients into a new buffer, of which they become views, and return it."""
        self._unscaled = None  # so that the new buffer can reuse its memory
        flat = self._backend.xp.empty_like(self._data)
        hold(flat)
        views = self._views(flat)
        pairs = [(p, view) for p, view, here in zip(self._params, views, present, strict=True) if here]
        gather(self._backend.xp, [p.grad for p, _ in pairs], [view for _, view in pairs])
        for parameter, view in pairs:
            parameter.grad = view
        self._unscaled = flat, views
        return flat

    def _average_once(self) -> None:
        """Average the gradients of processes that train together, unless the model's backward has done so."""
        if self._averaging is not None and not self._averaged:
            self._average()

    def _average(self) -> None:
        """Replace the gradients by their means over the processes that train together."""
        present = self._present()
        self._averaging.meet(present)
        if any(present):
            with ignore_underflow(self._backend.xp), on_device_of(self._data):
                self._adopt(f"{type(self).__name__}.step", present)
                flat = self._move_gradients(present)
                for where, here in zip(self._slices, present, strict=True):
                    if not here:
                        flat[where] = 0
                self._averaging.average(flat)
        self._averaged = True

    def _narrow(self) -> None:
        """Round the master copies into the float16 or bfloat16 parameters."""
        self._narrowed[...] = self._data

    def _widen(self) -> None:
        """Copy changed values of float16 or bfloat16 parameters into their master copies."""
        xp = self._backend.xp
        for where in self._narrow_runs:
            wide, narrow = self._data[where], self._narrowed[where]
            with ignore_underflow(xp):
                same = wide.astype(narrow.dtype) == narrow
            wide[...] = xp.where(same, wide, narrow.astype(wide.dtype))


def view_as(part: Array, shape: tuple[int, ...], channels_last: bool) -> Array:
    """A vector in another shape, of images or weights of convolutions with their channels last in memory."""
    if len(shape) < 3 or not channels_last:
        return part.reshape(shape)
    last = len(shape) - 1
    return part.reshape(shape[0], *shape[2:], shape[1]).transpose(0, last, *range(1, last))
