"""What every layer is: parameters, children, modes, state dicts and moves between backends."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from traceback import clear_frames
from typing import Any, ClassVar, TypeGuard, TypeVar

from ..backend import (
    Array,
    asarray,
    backend_of,
    get_xp,
    ignoring_underflow,
    is_floating,
    plain,
    to_dtype,
    use_backend,
)
from ..errors import BackendError, DTypeError, LayerError, OutOfMemoryError, StateDictError
from ..geometry import shown, to_bool
from ..signatures import call_error, is_call_error
from .checks import Checks
from .memory import at_door, called, is_inside, keeping, next_serial, out_and_in
from .parameter import Parameter as Parameter
from .parameter import check_floating, writable
from .parameter import learns as learns
from .parameter import new_parameter as new_parameter
from .state import LoadResult, compare, read_state
from .tree import COLLECTIONS, ELSEWHERE, check_plain, check_whole, name_taken

Self = TypeVar("Self", bound="Layer")
Kind = TypeVar("Kind", bound="Layer")

TORCH_INPUTS = {
    "input": "x",
    "input1": "x1",
    "input2": "x2",
}  # what PyTorch's modules call the inputs of ours


class Layer(Checks):
    """Base of all layers. A layer of your own needs `forward` and `backward`:

    - `forward(x)` ends with `return self.keep(y, …)`, giving `keep` what backward will need;
    - `backward(grad_output, input_grad=True)` begins with `… = self.recall(grad_output)`, hands each
      parameter its gradient with `accumulate` (which a frozen one ignores; `if self.weight.requires_grad:`
      before it spares the work), and returns the gradient with respect to `x` (None without `input_grad`).

    Attributes that are `Parameter`s or `Layer`s are found by themselves; arrays that belong to the
    state but are not learned are listed in `buffer_names`.

    Example:
        >>> import numpy as np, xpconv
        >>> class Square(xpconv.Layer):
        ...     def forward(self, x):
        ...         return self.keep(x * x, x)
        ...     def backward(self, grad_output, input_grad=True):
        ...         (x,) = self.recall(grad_output)
        ...         return 2 * x * grad_output if input_grad else None
        >>> layer = Square()
        >>> layer(np.array([3.0]))
        array([9.])
        >>> layer.backward(np.array([1.0]))
        array([6.])
    """

    training: bool = True
    _advice = "give the gradient of the loss with respect to the output: model.backward(criterion.backward())"
    _is_ours: ClassVar[bool] = True  # whether `forward` and `__call__` are this package's, not a user's
    buffer_names: ClassVar[tuple[str, ...]] = ()
    lazy: bool = False  # whether its first forward makes its parameters
    _thawed_mode: bool | None = None  # of a layer kept in inference mode: its `training` once it learns
    _dtype_later: Any = None  # of a lazy layer's parameters, if they are not to take their input's
    listed: ClassVar[tuple[str, ...]] = ()  # attributes of several layers that `children` itself adds
    _carries: tuple[int, ...] = ()  # numbers of what `fuse` folded into this layer
    _folded: int | None = None  # the number of a layer that stands where one was folded away

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "requires_grad":
            raise AttributeError(
                f"{type(self).__name__}: requires_grad is an attribute of parameters; freeze all those of a "
                "layer with layer.requires_grad_(False)"
            )
        old = vars(self).get(name)
        if isinstance(old, PARTS) or isinstance(value, PARTS):
            self._check_part(name, old, value)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """Only where there is no such attribute: a layer or parameter of what is called ""."""
        if hasattr(type(self), name):  # a property, which failed
            return super().__getattribute__(name)
        found = None if name.startswith("__") else self._find(name)
        if found is None:
            kind = type(self).__name__
            hint = f"; {ELSEWHERE[name]}" if name in ELSEWHERE else ""
            raise AttributeError(f"{kind!r} object has no attribute {name!r}{hint}", name=name, obj=self)
        return found[1]

    def forward(self, x: Array) -> Array:
        """The layer's output for `x`."""
        raise TypeError(f"{type(self).__name__} defines no forward(x)")

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """The gradient with respect to the input of the latest forward; parameters add up their own.

        Args:
            grad_output: gradient with respect to the output, of its shape, dtype and backend.
            input_grad: False skips the input's gradient and returns None: nobody reads it at the first
                layer of a model in training.
        """
        raise TypeError(f"{type(self).__name__} defines no backward(grad_output)")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("forward", "backward"):
            if inspect.isfunction(vars(cls).get(name)):
                setattr(cls, name, ignoring_underflow(vars(cls)[name]))
        cls._is_ours = _is_ours(cls.forward) and _is_ours(cls.__call__)
        inherited = [vars(base)["forward"] for base in cls.__mro__ if "forward" in vars(base)]
        cls._has_our_forward = any(_is_ours(f) for f in inherited if f is not Layer.forward)

    def __call__(self, *inputs: Any, **named: Any) -> Array:
        """`forward(x)`; where that fails, what it kept is dropped again, and the error told where it is.

        What is kept for backward shares no memory with `x` or the output: both may be changed in place.
        Inputs may be given by name, as `forward` has it or PyTorch: `layer(input=x)`.
        """
        if named:
            inputs = self._in_order(inputs, named)
        foreign = self._is_foreign()
        if not foreign:
            inputs = tuple([plain(x) for x in inputs])
        elif keeping() and type(self).backward is Layer.backward and "backward" not in vars(self):
            raise TypeError(
                f"{type(self).__name__} has no backward(grad_output, input_grad=True), and there is no "
                "autograd here: write one (see xpconv.Layer for an example), or, for inference alone, call "
                "the model within `with xpconv.no_grad():`"
            )
        return self._run(partial(at_door, self.forward, foreign=foreign), *inputs)

    def _in_order(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """All inputs in the order of `forward`, also those given by a name of PyTorch's: input, input1, …"""
        from inspect import signature

        arguments = signature(self.forward)
        given = {TORCH_INPUTS.get(n, n) if n not in arguments.parameters else n: v for n, v in named.items()}
        try:
            if len(given) == len(named):
                return arguments.bind(*inputs, **given).args
        except TypeError:
            pass  # the error below says more
        raise TypeError(
            f"{type(self).__name__}: got {len(inputs)} inputs and {', '.join(named)} by name, expected "
            f"{', '.join(arguments.parameters)}"
        )

    def _pass(self, *inputs: Any) -> Array:
        """`self(*inputs)` for a layer around it: what it keeps may be what goes in and comes out.

        But not where the code is a user's, who could have it.
        """
        if self._is_foreign():
            return out_and_in(self, *inputs)
        return self._run(self.forward if is_inside() else partial(at_door, self.forward), *inputs)

    def _is_foreign(self) -> bool:
        """Whether its forward is a user's."""
        return not self._is_ours or ("forward" in self.__dict__ and not _is_ours(self.__dict__["forward"]))

    def _run(self, forward: Callable[..., Array], *inputs: Any) -> Array:
        start = next_serial()
        called(self)
        try:
            return forward(*inputs)
        except BaseException as error:
            self._forget_since(start)
            if isinstance(error, MemoryError) and not isinstance(error, OutOfMemoryError):
                raise self._out_of_memory(error, "forward", *inputs) from error
            if is_call_error(type(self).forward, error):
                raise call_error(f"{type(self).__name__}.forward", type(self).forward, error) from None
            if isinstance(error, LayerError):
                error.passes(self, {name: layer for name, layer in self.named_layers() if name})
            raise

    def _back(self, grad_output: Array | None, input_grad: bool, clip: Layer | None = None) -> Array | None:
        """`backward` as containers call it, from the output of `clip` if that followed.

        Memory that runs out is told where.
        """
        try:
            if clip is not None:
                return self._back_from(clip, grad_output, input_grad)
            return self.backward(grad_output, input_grad=input_grad)
        except OutOfMemoryError:
            raise
        except MemoryError as error:
            raise self._out_of_memory(error, "backward", grad_output) from error

    def _takes_bounds(self) -> bool:
        """Whether there is a `_forward(x, bounds)` that does the work of a ReLU after this layer too."""
        return False

    def _commutes_with_bounds(self) -> bool:
        """Whether it may do that work for a ReLU before it instead: it gives the same, gradients too."""
        return False

    def _forward(self, x: Array, bounds: Any) -> Array:
        """`forward`, and its output cut off at `bounds`."""
        raise TypeError(f"{type(self).__name__} defines no _forward(x, bounds)")

    def _back_from(self, clip: Layer, grad_output: Array | None, input_grad: bool) -> Array | None:
        """`backward` through `clip` and this layer."""
        return self._back(clip._back(grad_output, True), input_grad)

    def _out_of_memory(self, error: MemoryError, direction: str, *inputs: Any) -> OutOfMemoryError:
        """The error to raise; what the failed call still holds is let go."""
        clear_frames(error.__traceback__)
        arrays = [x for x in inputs if hasattr(x, "shape")]
        shapes = " and ".join(str(tuple(x.shape)) for x in arrays)
        told = OutOfMemoryError(
            f"{type(self).__name__}.{direction}: out of memory with an input of shape {shapes}: "
            f"{str(error).rstrip('.')}. Try a smaller batch, float16, or for inference "
            "`with xpconv.no_grad():`"
        )
        with suppress(BackendError):  # what is no backend's array has no pool
            told.pool = getattr(get_xp(*arrays), "get_default_memory_pool", lambda: None)()
        told.passes(self, {})
        return told

    def _back_through(
        self, steps: Sequence[tuple[Layer, Layer | None]], start: int, grad: Array, input_grad: bool
    ) -> Array | None:
        """Backward through children that ran one after the other since `start`, each with its ReLU or None.

        Without `input_grad` it stops at the first one that learns, and what those before it kept is dropped.
        """
        last = 0  # the last one to go through, on the way back
        if not input_grad:
            last = next((i for i, (layer, _) in enumerate(steps) if layer._learns()), len(steps))
        passed: Array | None = grad
        with self._undone_since(start):
            for i in reversed(range(last, len(steps))):
                layer, clip = steps[i]
                passed = layer._back(passed, input_grad or i > last, clip)
        for step in steps[:last]:
            for layer in filter(None, step):
                layer._forget_since(start)
        return passed if input_grad else None

    @contextmanager
    def _undone_since(self, start: int) -> Iterator[None]:
        """For a backward through children: where it fails, all that they kept since `start` is dropped."""
        try:
            yield
        except BaseException as error:
            self._forget_since(start)
            if isinstance(error, OutOfMemoryError):
                error.passes(self, {name: layer for name, layer in self.named_layers() if name})
            raise

    # --- parameters and children -------------------------------------------------------------------

    def children(self) -> dict[str, Layer]:
        """The layers that this one holds, by name; with the name `""`, as if their parts were this one's."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Layer)}

    def named_children(self) -> Iterator[tuple[str, Layer]]:
        """Names and layers of `children()`, each layer once."""
        seen: set[int] = set()
        for name, layer in self.children().items():
            if id(layer) not in seen:
                seen.add(id(layer))
                yield name, layer

    def modules(self) -> Iterator[Layer]:
        """This layer and all below it, each once.

        Example:
            >>> import xpconv
            >>> model = xpconv.Sequential(xpconv.Dense(4, 3), xpconv.ReLU())
            >>> [type(layer).__name__ for layer in model.modules()]
            ['Sequential', 'Dense', 'ReLU']
        """
        for _, layer in self.named_layers():
            yield layer

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """`named_layers`, by PyTorch's name."""
        return self.named_layers(prefix)

    def apply(self: Self, function: Callable[[Layer], Any]) -> Self:
        """Call `function(layer)` for all layers below and then for this one, as PyTorch's; returns the layer.

        Example:
            >>> import xpconv
            >>> def start(layer):
            ...     if isinstance(layer, xpconv.Dense):
            ...         xpconv.init.zeros_(layer.bias)
            >>> model = xpconv.Sequential(xpconv.Dense(2, 2), xpconv.ReLU()).apply(start)
            >>> model[0].bias.data
            array([0., 0.], dtype=float32)
        """
        if not callable(function) or isinstance(function, Layer):
            raise TypeError(
                f"{type(self).__name__}.apply: function is {type(function).__name__}, expected a function of "
                "a layer; to run the model: model(x)"
            )
        for _, layer in self.named_children():
            layer.apply(function)
        function(self)
        return self

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """This layer and all below it, with dotted names; each once."""
        seen: set[int] = set()
        for name, layer in self._walk(prefix):
            if id(layer) not in seen:
                seen.add(id(layer))
                yield name, layer

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with dotted names, in PyTorch's order; a shared one once.

        Example:
            >>> import xpconv
            >>> model = xpconv.Sequential(xpconv.Dense(4, 3), xpconv.ReLU(), xpconv.Dense(3, 2, bias=False))
            >>> [name for name, _ in model.named_parameters()]
            ['0.weight', '0.bias', '2.weight']
        """
        seen: set[int] = set()
        for prefix, layer in self.named_layers():
            for name, value in vars(layer).items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield _join(prefix, name), value

    def parameters(self) -> list[Parameter]:
        """All parameters, each once: what an optimizer takes.

        Raises:
            RuntimeError: a lazy layer has none yet, and so would never be trained: run one forward first.
            TypeError: an attribute of a layer is a list, tuple, dict or set that holds a layer or a
                `Parameter`, at any depth: these would never be trained.
        """
        self._check_collections()
        for name, layer in self.named_layers():
            if layer.lazy:
                where = f" (layer {name})" if name else ""
                raise RuntimeError(
                    f"{type(self).__name__}.parameters: {type(layer).__name__}{where} has none before its "
                    "first forward; run one first: `with xpconv.no_grad(): model(x[:1])`"
                )
        return [parameter for _, parameter in self.named_parameters()]

    def _check_collections(self) -> None:
        """That no layer or parameter is in a list or the like, where nothing would find it."""
        for layer in self.modules():
            for name, value in vars(layer).items():
                if isinstance(value, COLLECTIONS) and name not in layer.listed and name != "_kept":
                    check_plain(layer, name, value, PARTS)

    def _learns(self) -> bool:
        """Whether any parameter here or below is to get a gradient."""
        return any(parameter.requires_grad for _, parameter in self.named_parameters())

    def _walk(self, prefix: str, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Layer]]:
        """Every path to a layer, from `prefix` on; `above` are the ids of the layers that hold this one."""
        if id(self) in above:
            raise ValueError(f"{type(self).__name__}: layer {prefix} holds itself; a model must have an end")
        yield prefix, self
        for name, child in self.children().items():
            yield from child._walk(_join(prefix, name), (*above, id(self)))

    def _find(self, name: str) -> tuple[Layer, Any] | None:
        """The layer or parameter of this name, after the layer that holds it."""
        value = vars(self).get(name)
        return (self, value) if isinstance(value, PARTS) else None

    def _check_part(self, name: str, old: Any, new: Any) -> None:
        """What may be set to `new` where a layer or parameter is, or is to be."""
        whose = type(self).__name__
        if isinstance(old, Parameter) and not (new is None or isinstance(new, Parameter)):
            raise TypeError(
                f"{whose}: {name} is a Parameter and was set to {type(new).__name__}, which "
                f"would drop it from the state dict; set layer.{name}.data, or give a Parameter or None"
            )
        if isinstance(old, Layer):
            if not (new is None or isinstance(new, Layer)):
                raise TypeError(
                    f"{whose}: {name} is a layer and was set to {type(new).__name__}; give a Layer or None"
                )
            check_whole(self, [old])
        elif isinstance(new, PARTS):
            defined = getattr(type(self), name, None)
            if hasattr(Layer, name) or inspect.isroutine(defined) or inspect.isdatadescriptor(defined):
                raise name_taken(self, name)

    def _forget_since(self, serial: int) -> None:
        super()._forget_since(serial)
        for child in self.children().values():
            child._forget_since(serial)

    # --- modes -------------------------------------------------------------------------------------

    def train(self: Self, mode: bool = True) -> Self:
        """Set training mode here and below: dropout drops, BatchNorm takes the batch's statistics.

        Layers frozen by `requires_grad_(False, eval=True)` stay in inference mode until they learn again.
        """
        mode = to_bool(f"{type(self).__name__}.train: mode", mode)
        for _, layer in self.named_layers():
            if layer._thawed_mode is None:
                layer.training = mode
            else:
                layer._thawed_mode = mode
        if mode:
            self._make_writable()
        return self

    def eval(self: Self) -> Self:
        """Set inference mode here and below; use `no_grad` as well to keep nothing for backward."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True, *, eval: bool = False) -> Self:
        """Freeze (False) or thaw (True) all parameters here and below; returns the layer.

        For a frozen parameter no gradient is computed, `backward(…, input_grad=False)` stops above the layers
        below which nothing learns, and optimizers and gradient clipping pass over it. It may be frozen and
        thawed at any time, with an optimizer at work; `parameters()` and the state dict still have it.

        As in PyTorch this leaves the mode alone: in training, a frozen BatchNorm still takes the batch's
        statistics and moves its running ones. With `eval=True` the layers also go to inference mode, dropout
        included, and stay there whatever `train()` of the model says, until `requires_grad_(True)` gives them
        the mode that they would have by then.

        Raises:
            TypeError: a flag that is not True or False.
            ValueError: `eval=True` without freezing.

        Example:
            >>> import xpconv
            >>> model = xpconv.models.resnet18(num_classes=7)
            >>> _ = model.requires_grad_(False, eval=True)  # the backbone: extracts features as it is
            >>> _ = model.fc.requires_grad_()  # the head learns
            >>> [name for name, p in model.named_parameters() if p.requires_grad]
            ['fc.weight', 'fc.bias']
            >>> model.train().bn1.training, model.fc.training
            (False, True)
        """
        where = f"{type(self).__name__}.requires_grad_"
        requires_grad = to_bool(f"{where}: requires_grad", requires_grad)
        if to_bool(f"{where}: eval", eval) and requires_grad:
            raise ValueError(f"{where}: eval=True is for frozen layers: requires_grad_(False, eval=True)")
        for _, parameter in self.named_parameters():
            parameter.requires_grad = requires_grad
        for _, layer in self.named_layers():
            layer._set_frozen(not requires_grad, eval)
        return self

    def _set_frozen(self, frozen: bool, eval: bool) -> None:
        """What freezing or thawing does to this layer itself, beside its parameters."""
        if self.lazy:
            self._frozen_later = frozen
        if eval and self._thawed_mode is None:
            self._thawed_mode, self.training = self.training, False
        elif not frozen and self._thawed_mode is not None:
            self.training, self._thawed_mode = self._thawed_mode, None

    def _take_flags(self) -> None:
        """Where a lazy layer has made its parameters: freeze them, if it was frozen before."""
        if vars(self).pop("_frozen_later", False):
            for value in vars(self).values():
                if isinstance(value, Parameter):
                    value.requires_grad = False

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every parameter's gradient back to None; without `set_to_none` fill those there are with 0."""
        set_to_none = to_bool(f"{type(self).__name__}.zero_grad: set_to_none", set_to_none)
        for _, parameter in self.named_parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad[...] = 0

    # --- state -------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """All parameters and buffers by dotted name: PyTorch's names, shapes and order.

        The arrays are copies: a snapshot that further training does not change. On the host, to a file:

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

        Everything is checked first: where this raises, nothing has changed.

        Args:
            state: name to array, as from `state_dict()`: of any backend, or PyTorch's tensors; or the path
                of an npz file or a safetensors file (`pip install "xpconv[safetensors]"`), by its suffix.
                BatchNorm's `num_batches_tracked` may be missing, as in PyTorch; then it stays as it is.
            strict: False takes the names that the model has and leaves the others; it returns the names
                that were missing or unexpected. The shapes must fit all the same.

        Raises:
            StateDictError: (a ValueError) names are missing or unexpected (if strict), shapes differ, or
                the file is of another kind than its name says.
            TypeError: `state` is no mapping of names, or a value no array of real numbers.
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
        for _, layer in walk:
            if id(layer) in made:
                layer._turn_into(made.pop(id(layer)))
        for prefix, layer in self._walk(""):
            for attribute, parameter in vars(layer).items():
                key = _join(prefix, attribute)
                if isinstance(parameter, Parameter) and key in new:
                    parameter._write(new.pop(key))
        for _, layer in self.named_layers():
            layer._make_buffers_writable()
        own = self._state()
        for key, value in new.items():
            own[key][...] = value
        return result

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy, or from a file. In training a layer gets arrays of its own in place of memory maps."""
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
        """Of a lazy layer, another with parameters of the sizes in `state`; any other layer itself."""
        return self

    def _turn_into(self, other: Layer) -> None:
        self.__class__ = type(other)
        vars(self).clear()
        vars(self).update(vars(other))

    def _state(self) -> dict[str, Array]:
        """The arrays of all parameters and buffers by dotted name, in PyTorch's order."""
        self._check_collections()
        return _arrays(self._walk(""))

    def to(self: Self, backend: str | None = None, *, dtype: Any = None) -> Self:
        """Move all parameters, gradients and buffers to a backend and/or a floating dtype, in place.

        What pending forwards kept is dropped. Make the optimizer after moving, as in PyTorch.

        Args:
            backend: `'numpy'`, `'cupy'`, `'auto'` or a registered name; None stays.
            dtype: floating dtype of the parameters and floating buffers; None stays.

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
            wanted = dtype if dtype is not None and is_floating(array.dtype) else array.dtype
            return asarray(array, wanted, backend=backend or backend_of(array).name)

        self._check_collections()
        self.forget()
        for _, parameter in self.named_parameters():
            grad, parameter.grad = parameter.grad, None
            parameter.data = move(parameter.data)
            parameter.grad = None if grad is None else move(grad)
        for _, layer in self.named_layers():
            if dtype is not None and layer._dtype_later is not None:
                layer._dtype_later = dtype
            for name in layer.buffer_names:
                if getattr(layer, name) is not None:
                    setattr(layer, name, move(getattr(layer, name)))
        return self

    def summary(self, input_shape: Any = None) -> str:
        """A table of the layers: name, layer, number of parameters; with `input_shape`, output shapes too.

        Args:
            input_shape: of one image, without the batch axis; of several inputs a tuple of shapes. An array
                in the place of a shape is taken as it is. The output shapes are those of a real forward of
                one image of zeros in inference mode (the first of several outputs); a model that begins with
                an `Embedding` gets integers.

        Returns:
            text, which a notebook shows as a table.

        Raises:
            TypeError: `input_shape` is no tuple of ints or of inputs, or the model takes more or fewer.
            ValueError: a size is below 0.
            ShapeError: (a ValueError) the model takes no image of that shape.

        Example:
            >>> import xpconv
            >>> print(xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(4, 3)).summary((1, 2, 2)))
            name  layer         output   parameters
            0     Flatten()     (1, 4)            0
            1     Dense(4, 3)   (1, 3)           15
            total                                15
        """
        from .summary import summary

        return summary(self, input_shape)

    def fuse(self: Self) -> Self:
        """A copy for inference, with BatchNorm and ReLU folded into the layer before them.

        `BatchNorm(W x + b) = (scale · W) x + (scale · b + shift)`, with the running statistics: computed in
        float64, cast back, the same output but for rounding. `ReLU`, `ReLU6` and `Hardtanh` become part of
        the convolution, which cuts off its output while that is in the cache. The copy is in inference
        mode and shares no array with this model, which stays as it is. A folded layer leaves a place
        holder that costs next to nothing, so all other names and indices stay; of the state dict, the
        entries of BatchNorm go and a bias may come. The copy may be trained on: the folded statistics no
        longer move.

        On NumPy, under `no_grad()`, the copy's `Sequential`s run as programs: at the first images of a
        shape, which take longer, all that follows from shapes is decided, buffers are set aside and weights
        are brought into the order that the algorithms take. Buffers that no call uses are kept up to 512 MB,
        of all models together, and prepared weights (up to five times the parameters) as long as the copy:
        `free_memory()` gives both back.

        Every change of parameters counts at the next inference: by an optimizer, `load_state_dict`,
        `average_parameters`, `xpconv.init`, `to`, `parameter[...] = …` or a new array for `parameter.data`.
        The arrays that programs have read are read-only, so that writing into `parameter.data` in place,
        which would be missed, is NumPy's error. Parameters that an optimizer has lie in its memory: from then
        on the copy runs layer by layer under `no_grad()` as well, with the same results; after training,
        `fuse()` it again.

        Folded is a BatchNorm that directly follows `Conv1d`–`3d`, `DepthwiseConv2d`, `SeparableConv2d`,
        `ConvTranspose1d`–`3d` or (on `(N, C)`) `Dense` in a `Sequential`, wherever in the model and through
        nested ones: only there the order is known; and a ReLU after such a convolution, not a transposed
        one. Left as they are: BatchNorm without running statistics,
        or after a layer that stands in the model more than once; subclasses with a forward of their own. A
        layer of your own that calls the parts of a `Sequential` one by one must not be fused.

        Example:
            >>> import xpconv
            >>> conv = xpconv.Conv2d(3, 8, 3, bias=False)
            >>> xpconv.Sequential(conv, xpconv.BatchNorm2d(8), xpconv.ReLU()).fuse()
            Sequential(
              (0): Conv2d(3, 8, kernel_size=3)
              (1): Folded(BatchNorm2d(8))
              (2): Folded(ReLU())
            )
        """
        from .fuse import fuse

        return fuse(self)  # type: ignore[return-value]  # a deep copy is of the same class

    def __repr__(self) -> str:
        name, own, children = type(self).__name__, self.extra_repr(), self.children()
        if own or not children:
            return f"{name}({own})"
        lines = [f"  ({child}): {layer!r}".replace("\n", "\n  ") for child, layer in children.items()]
        return "\n".join([f"{name}(", *lines, ")"])

    def extra_repr(self) -> str:
        """The constructor's arguments, for `repr` and `summary`; with none, `repr` lists the children."""
        return ""


def _is_ours(function: Any) -> bool:
    """Whether the function is this package's."""
    return str(getattr(function, "__module__", "")).partition(".")[0] == __name__.partition(".")[0]


PARTS = (Layer, Parameter)


def runs_as(layer: Layer, kind: type[Kind]) -> TypeGuard[Kind]:
    """Whether its forward is that of `kind`, and not a subclass' own."""
    return isinstance(layer, kind) and type(layer).forward is kind.forward and "forward" not in vars(layer)


def arguments(*positional: Any, **named: tuple[Any, Any]) -> str:
    """A constructor's arguments as written in code: `name=(value, default)` only where the two differ.

    A tuple of equal numbers stands as one number.
    """

    def short(value: Any) -> Any:
        alike = isinstance(value, tuple) and len(set(value)) == 1 and isinstance(value[0], int)
        return value[0] if alike else value

    changed = {k: short(v) for k, (v, default) in named.items() if short(v) != short(default)}
    return ", ".join([*map(repr, positional), *(f"{k}={v!r}" for k, v in changed.items())])


def _check_backend(layer: str, name: Any) -> None:
    """An unknown backend is an error, which tells a dtype that it is one."""
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
        raise ValueError(f"{layer}.to: {fault}; a dtype goes by name: to(dtype='{dtype}')")
    raise (ValueError if isinstance(name, str) else TypeError)(f"{layer}.to: {fault}")


def _arrays(walk: Iterable[tuple[str, Layer]]) -> dict[str, Array]:
    """The arrays of layers with their prefixes, by dotted name."""
    state: dict[str, Array] = {}
    for prefix, layer in walk:
        own = {name: value.data for name, value in vars(layer).items() if isinstance(value, Parameter)}
        own |= {name: getattr(layer, name) for name in layer.buffer_names}
        for name, array in own.items():
            key = _join(prefix, name)
            if array is not None and state.setdefault(key, array) is not array:
                raise StateDictError(f"two arrays are called {key!r}; give one of the layers another name")
    return state


def _join(*names: str) -> str:
    """Dotted; an empty name adds nothing."""
    return ".".join(filter(None, names))
