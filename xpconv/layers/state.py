"""The arrays of a model: state dicts, copies and moves between backends."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ..arguments import shown, to_bool
from ..arraylike import is_writable, writable
from ..arrays import asarray
from ..backend import Array, backend_of, get_xp, use_backend
from ..dtypes import check_floating, is_floating, to_dtype
from ..errors import DTypeError, StateDictError
from ..locks import note_changes, replacing
from ..parameter import Parameter
from .loading import LoadResult, compare, read_state
from .tree import L, Tree, array_name

Self = TypeVar("Self", bound="State[Any]")


class State(Tree[L]):
    """The part of `Layer` that reads, loads and moves the arrays of all parameters and buffers."""

    def state_dict(self) -> dict[str, Array]:
        """All parameters and buffers by dotted name: PyTorch's names, shapes and order.

        The arrays are copies, which further training does not change. `xpconv.save_model(model, path)` saves
        them with the architecture, and `xpconv.save` a training run. To save them alone to a file:

            state = {name: xpconv.asnumpy(array) for name, array in model.state_dict().items()}
            np.savez("weights.npz", **state)
            safetensors.numpy.save_file(state, "weights.safetensors")

        and to PyTorch's model: `theirs.load_state_dict({k: torch.as_tensor(v) for k, v in state.items()})`.
        """
        return {name: array.copy() for name, array in self._state().items()}

    def load_state_dict(
        self, state: Mapping[str, Any] | str | os.PathLike[str], strict: bool = True
    ) -> LoadResult:
        """Copy arrays of any backend into the parameters and buffers of the same name.

        Everything is checked first: if this raises an error, nothing has changed. A lazy layer makes its
        parameters with the sizes in the state. A forward in another thread, in inference mode or under
        `no_grad()`, has either the old arrays or the new ones: one that meets a change runs again.

        Args:
            state: mapping of names to arrays, as from `state_dict()`, of any backend or PyTorch's tensors;
                or the path of a file that ends in `.npz` or `.safetensors`, also of `save_model`
                (`pip install safetensors`). As in PyTorch, BatchNorm's `num_batches_tracked` may
                be missing; the model's then stays unchanged.
            strict: False loads the names that both have and ignores the others. The shapes must match in
                either case.

        Returns:
            a pair of lists, `missing_keys` and `unexpected_keys`.

        Raises:
            StateDictError: (a ValueError) names are missing or unexpected (if strict), shapes differ, or
                the file cannot be read.
            TypeError: `state` is not a mapping of strings, or a value not an array of real numbers.
            FileNotFoundError: there is no such file.

        Example:
            >>> import xpconv
            >>> a, b = xpconv.Dense(3, 2), xpconv.Dense(3, 2)
            >>> _ = b.load_state_dict(a.state_dict())
            >>> bool((a.weight.data == b.weight.data).all())
            True
        """
        where = f"{type(self).__name__}.load_state_dict"
        strict = to_bool(f"{where}: strict", strict)
        arrays = read_state(where, state)
        self._check_collections()
        walk = list(self._walk(""))
        sized = [(layer, layer._sized(prefix, arrays)) for prefix, layer in walk]
        made = {id(layer): other for layer, other in sized if other is not layer}
        parts = [(prefix, made.get(id(layer), layer)) for prefix, layer in walk]
        new, result = compare(where, _arrays(parts), arrays, strict)
        with replacing():
            fresh = _in_place_of_read_only(parts, new)  # first, as memory may run out
            try:
                self._fill(new, fresh, made)
            except BaseException:  # such as Ctrl-C: no part of the old state may stay
                self._fill(new, fresh, made)
                raise
        return result

    def _fill(self, new: Mapping[str, Array], fresh: Mapping[str, Array], made: Mapping[int, Any]) -> None:
        """Turn lazy layers into those `made` for them, by id, and write all arrays; may be repeated.

        Those in `fresh` take the place of the layer's own, into which the others are written.
        """
        for layer in list(self.modules()):
            if id(layer) in made:
                layer._turn_into(made[id(layer)])
        loaded = [
            value
            for prefix, layer in self._walk("")
            for attribute, value in _owned(layer).items()
            if isinstance(value, Parameter) and array_name(prefix, attribute) in new
        ]
        note_changes(loaded)
        for prefix, layer in self._walk(""):
            for attribute, value in _owned(layer).items():
                key = array_name(prefix, attribute)
                if key in fresh:
                    holder, name = (value, "data") if isinstance(value, Parameter) else (layer, attribute)
                    setattr(holder, name, fresh[key])
        own = self._state()
        for key in new.keys() - fresh.keys():
            own[key][...] = new[key]
        note_changes(loaded)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy or a pickle. In training mode, read-only arrays, such as memory maps, are copied."""
        vars(self).update(state)
        if self.training:
            self._make_own_writable()

    def _make_writable(self) -> None:
        for _, layer in self.named_layers():
            layer._make_own_writable()

    def _make_own_writable(self) -> None:
        """Copy the arrays of this layer that are read-only."""
        for value in list(vars(self).values()):
            if isinstance(value, Parameter):
                value._make_writable()
        self._make_buffers_writable()

    def _make_buffers_writable(self) -> None:
        for name in self.buffer_names:
            array = getattr(self, name, None)
            own = None if array is None else writable(array)
            if own is not array:
                setattr(self, name, own)

    def _sized(self: Self, prefix: str, state: Mapping[str, Any]) -> Self:
        """For a lazy layer, a copy with parameters of the sizes in `state`.

        For any other, the layer itself.
        """
        return self

    def _turn_into(self, other: State[L]) -> None:
        hooks = self._hooks
        self.__class__ = type(other)
        vars(self).clear()
        vars(self).update(vars(other))
        if hooks is not None:
            vars(self)["_hooks"] = hooks

    def _state(self) -> dict[str, Array]:
        """The arrays of all parameters and buffers by dotted name, in PyTorch's order."""
        self._check_collections()
        return _arrays(self._walk(""))

    def to(self: Self, backend: str | None = None, *, dtype: Any = None) -> Self:
        """Move all parameters, gradients and buffers to a backend and/or a floating dtype, in place.

        A move discards what forwards have saved for backward; where all is in place already, nothing changes.
        Make the optimizer after moving, as in PyTorch.

        Args:
            backend: `'numpy'`, `'cupy'`, `'auto'` or a registered name; None does not move them.
            dtype: floating dtype of the parameters and floating buffers; None does not change it.

        Raises:
            ValueError: the backend is unknown.
            DTypeError: (a TypeError) the dtype is not floating.

        Example:
            >>> import xpconv
            >>> xpconv.Dense(3, 2).to("numpy", dtype="float64").weight.dtype
            dtype('float64')
        """
        xp = get_xp()
        if backend is not None:
            _check_backend(type(self).__name__, backend)
        if dtype is not None:
            dtype = check_floating(f"{type(self).__name__}.to", xp, dtype)

        def move(array: Array) -> Array:
            new_dtype = dtype if dtype is not None and is_floating(array.dtype) else array.dtype
            return asarray(array, new_dtype, backend=backend or backend_of(array).name)

        self._check_collections()
        moved = False
        for _, parameter in self._named_parameters():
            data, grad = move(parameter.data), None if parameter.grad is None else move(parameter.grad)
            if data is not parameter.data or grad is not parameter.grad:
                moved, parameter.grad = True, None
                parameter.data, parameter.grad = data, grad
        for _, layer in self.named_layers():
            if dtype is not None and layer._dtype_later is not None:
                layer._dtype_later = dtype
            setting = layer._dtype_setting
            if dtype is not None and setting and is_floating(xp.dtype(getattr(layer, setting))):
                setattr(layer, setting, dtype.name)
            for name in layer.buffer_names:
                old = getattr(layer, name)
                new = None if old is None else move(old)
                if new is not old:
                    moved = True
                    setattr(layer, name, new)
        if moved:
            self.forget()
        return self


def _check_backend(layer: str, name: Any) -> None:
    """Raise an error if the backend is unknown; for a dtype it says to pass that by name."""
    fault = f"unknown backend {shown(name)}: expected a name, such as 'cupy'"
    if isinstance(name, str):
        try:
            with use_backend(name):
                return
        except ValueError as error:
            fault = str(error)
    try:
        dtype = to_dtype(f"{layer}.to", get_xp(), name)
    except DTypeError:
        dtype = None
    if dtype is not None and is_floating(dtype):
        raise ValueError(f"{layer}.to: {fault}; pass a dtype by name: to(dtype='{dtype}')")
    raise (ValueError if isinstance(name, str) else TypeError)(f"{layer}.to: {fault}")


def _owned(layer: Any) -> dict[str, Any]:
    """The parameters and buffers of a layer by attribute; a buffer may be None."""
    own = {name: value for name, value in vars(layer).items() if isinstance(value, Parameter)}
    return own | {name: getattr(layer, name) for name in layer.buffer_names}


def _in_place_of_read_only(walk: Iterable[tuple[str, L]], new: Mapping[str, Array]) -> dict[str, Array]:
    """Copies of those arrays in `new` that cannot be written into the layers' own, by dotted name."""
    fresh = {}
    for prefix, layer in walk:
        for attribute, value in _owned(layer).items():
            key = array_name(prefix, attribute)
            if key not in new:
                continue
            if isinstance(value, Parameter):
                copy = value._in_place_of_data(new[key])
            else:
                copy = None if is_writable(value) else get_xp(value).array(new[key])
            if copy is not None:
                fresh[key] = copy
    return fresh


def _arrays(walk: Iterable[tuple[str, L]]) -> dict[str, Array]:
    """The arrays of parameters and buffers by dotted name; `walk` has pairs of a prefix and a layer."""
    state: dict[str, Array] = {}
    for prefix, layer in walk:
        for name, value in _owned(layer).items():
            array = value.data if isinstance(value, Parameter) else value
            key = array_name(prefix, name)
            if array is not None and state.setdefault(key, array) is not array:
                raise StateDictError(f"two arrays are called {key!r}; give one of the layers another name")
    return state
