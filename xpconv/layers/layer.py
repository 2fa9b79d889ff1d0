"""`Layer`, the base of all layers: calls of forward and backward, and errors in them.

The bases of `Layer` are in files of their own: the tape (taped.py), checks of inputs (checks.py), children
and parameters (tree.py), state dicts and moves (state.py), modes and freezing (modes.py), hooks (hooked.py),
`summary` (summary.py).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from traceback import clear_frames
from types import MethodType
from typing import Any, ClassVar, TypeGuard, TypeVar

from ..backend import Array, get_xp
from ..errors import BackendError, LayerError, OutOfMemoryError
from ..geometry import Bounds
from ..signatures import call_error, is_call_error, is_ours
from ..tape import current, cut, observer, saving
from .elsewhere import ARGUMENTS
from .summary import Summarized

__all__ = ["Layer"]

Self = TypeVar("Self", bound="Layer")
Kind = TypeVar("Kind", bound="Layer")

TORCH_INPUTS = {"input": "x", "input1": "x1", "input2": "x2"}  # names of inputs in PyTorch, and ours


class Layer(Summarized["Layer"]):
    """Base of all layers. A layer of your own needs `forward` and `backward`:

    - `forward(x)` ends with `return self.keep(y, …)`, which saves the other arguments for backward;
    - `backward(grad_output, input_grad=True)` begins with `… = self.recall(grad_output)`, which returns them,
      adds the gradient of each parameter with `parameter.accumulate(grad)`, and returns the gradient with
      respect to `x` (None without `input_grad`). Frozen parameters ignore `accumulate`; test
      `self.weight.requires_grad` first to avoid computing a gradient for them.

    Neither may write to the array that it is given, since other layers may be given the same one.

    Attributes that are `Parameter`s or `Layer`s are part of the model without further registration. List the
    names of other arrays that belong in the state dict in `buffer_names`.

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

    _advice = "give the gradient of the loss with respect to the output: model.backward(criterion.backward())"
    _has_backward: ClassVar[bool] = False
    elsewhere: ClassVar[Mapping[str, str]] = ARGUMENTS  # see `signatures.public_errors`
    _gives_none: ClassVar[bool] = False  # whether backward may return None in place of zeros

    def forward(self, x: Array) -> Array:
        """The layer's output for `x`."""
        raise TypeError(f"{type(self).__name__} defines no forward(x)")

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """The gradient with respect to the input of the latest forward; adds to the parameters' gradients.

        Args:
            grad_output: gradient with respect to the output, of its shape, dtype and backend.
            input_grad: False skips the gradient with respect to the input and returns None, as for a whole
                model in training, where it is not needed.

        Raises:
            BackwardError: (a RuntimeError) there is no forward without a backward, or a parameter of a layer
                that ran has changed since: by an optimizer, `load_state_dict`, `p += 1`, `p.data -= step` or
                another `Parameter`. What is written into an array of a parameter is not detected, and leads
                to wrong gradients: `p.data[...] = 0`, `p[0][1] = 0`, or through another `Parameter` with the
                same array.
            ShapeError, DTypeError, BackendError: `grad_output` does not fit the output.
        """
        raise TypeError(f"{type(self).__name__} defines no backward(grad_output)")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._has_backward = cls.backward is not Layer.backward
        if {"forward", "_clipped"} <= vars(cls).keys() and is_ours(cls.forward):
            cls.forward.raw = vars(cls)["_clipped"]  # type: ignore[attr-defined]  # it is all of `forward`

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """`forward(x)`. On failure, add the layer's path to the error; nothing is saved.

        Arrays saved for backward share no memory with `x` or the output: both may be changed in place.
        Inputs may be passed by the names of `forward` or those of PyTorch: `layer(input=x)`.
        """
        if named:
            inputs, named = self._in_order(inputs, named)
        users = self._is_users or "forward" in self.__dict__
        if users:
            self._check_backward()
        tape = current.get()
        function = self.__dict__.get("forward") or MethodType(self.forward.raw, self)  # type: ignore
        function = partial(function, **named) if named else function
        function = function if self._hooks is None else self._with_hooks(function)
        try:
            if tape is None or not tape.open:  # not from a user's forward
                return self._outermost(function, inputs, users)
            return self._inner(function, inputs, users, tape)
        except BaseException as error:
            self._explain(error, inputs)
            raise

    def _in_order(self, inputs: Any, named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inputs in the order of `forward`, including those passed by name, of PyTorch as well.

        Those that follow one that is left out, and those without a position, remain by name.
        """
        from inspect import signature

        arguments = signature(self.forward)
        given = {TORCH_INPUTS.get(n, n) if n not in arguments.parameters else n: v for n, v in named.items()}
        try:
            if len(given) == len(named):
                bound = arguments.bind(*inputs, **given)
                return bound.args, bound.kwargs
        except TypeError:
            pass  # the error below says more
        raise TypeError(
            f"{type(self).__name__}: got {len(inputs)} inputs by position and {', '.join(named)} by name, "
            f"expected {', '.join(arguments.parameters)}"
        )

    def _pass(self, *inputs: Any) -> Any:
        """`self(*inputs)` as a layer of this package calls the layers in it."""
        try:
            if self._is_users or "forward" in self.__dict__:
                return self._pass_to_users(inputs)
            forward = self.forward.raw  # type: ignore[attr-defined]
            if observer.get() is None and self._hooks is None:
                return forward(self, *inputs)
            return self._observed(self._with_hooks(MethodType(forward, self)), inputs)
        except BaseException as error:
            self._explain(error, inputs)
            raise

    def _pass_to_users(self, inputs: tuple[Any, ...]) -> Any:
        tape = current.get()
        self._check_backward()
        if not is_ours(type(self).__call__):
            function: Any = self.__call__
        else:
            planted = self.__dict__.get("forward")
            function = self._with_hooks(planted or MethodType(self.forward.raw, self))  # type: ignore
        if tape is None:
            return self._outermost(function, inputs, True)
        return self._inner(function, inputs, True, tape)

    def _check_backward(self) -> None:
        if not self._has_backward and "backward" not in vars(self) and saving():
            raise TypeError(
                f"{type(self).__name__} has no backward(grad_output, input_grad=True), and there is no "
                "autograd here: write one (see xpconv.Layer for an example), or, for inference alone, call "
                "the model within `with xpconv.no_grad():`"
            )

    def _pass_clipped(self, *inputs: Array, clip: Layer) -> Array:
        """`_pass`, of this layer and of the ReLU after it, in one pass over the output."""
        function = partial(self._clipped, bounds=clip._bounds())
        try:
            y: Array = self._observed(function, inputs)
            return y if observer.get() is None else clip._observed(lambda y: y, (y,))
        except BaseException as error:
            self._explain(error, inputs)
            raise

    def _clipped(self, x: Array, bounds: Bounds) -> Array:
        """`forward`, with the output clipped to `bounds`; `backward` differentiates both."""
        raise TypeError(f"{type(self).__name__} defines no _clipped(x, bounds)")

    def _explain(self, error: BaseException, inputs: tuple[Any, ...]) -> None:
        """Add this layer to an error from `forward`, or raise an error that says more."""
        if isinstance(error, MemoryError) and not isinstance(error, OutOfMemoryError):
            raise self._out_of_memory(error, "forward", *inputs) from error
        forward = type(self).forward
        if is_call_error(forward, error) or is_call_error(forward.raw, error):  # type: ignore[attr-defined]
            raise call_error(f"{type(self).__name__}.forward", forward, error) from None
        if isinstance(error, LayerError):
            error.passes(self, {name: layer for name, layer in self.named_layers() if name})
        elif isinstance(error, RecursionError):
            list(self.modules())  # raises an error if a layer contains itself

    def _back(self, grad_output: Array | None, input_grad: bool) -> Array | None:
        """`backward` as a layer of this package calls the layers in it."""
        backward = self.backward
        try:
            if self._is_users or not hasattr(backward, "raw"):
                return self._back_of_users(grad_output, input_grad)
            if self._hooks is not None:
                return self._back_with_hooks(backward.raw, grad_output, input_grad)
            return backward.raw(self, grad_output, input_grad)
        except BaseException as error:
            self._explain_backward(error, grad_output)
            raise

    def _explain_backward(self, error: BaseException, grad_output: Any) -> None:
        if isinstance(error, OutOfMemoryError):
            error.passes(self, {name: layer for name, layer in self.named_layers() if name})
        elif isinstance(error, MemoryError):
            raise self._out_of_memory(error, "backward", grad_output) from error
        elif is_call_error(type(self).backward, error):
            raise call_error(f"{type(self).__name__}.backward", type(self).backward, error) from None

    def _back_of_users(self, grad_output: Array | None, input_grad: bool) -> Any:
        planted = "backward" in vars(self)
        function = self.backward if planted else MethodType(self.backward.raw, self)  # type: ignore
        tape = current.get()
        if tape is None:
            return function(grad_output, input_grad=input_grad)
        if tape.unchecked:
            self._check(tape, grad_output, input_grad)
        return self._run_backward(function, (grad_output,), {"input_grad": input_grad}, True, tape)

    def _back_through(
        self, layers: Sequence[Layer], start: int, grad: Array, input_grad: bool
    ) -> Array | None:
        """Backward through layers that ran one after the other since the tape had the length `start`.

        Without `input_grad` it stops at the first one with a trainable parameter, and discards what those
        before it have saved.
        """
        last = 0  # the last one whose backward is called
        if not input_grad:
            last = next((i for i, layer in enumerate(layers) if layer._learns()), len(layers))
        passed: Array | None = grad
        for i in reversed(range(last, len(layers))):
            passed = layers[i]._back(passed, input_grad or i > last)
        cut(start)
        return passed if input_grad else None

    def _out_of_memory(self, error: MemoryError, direction: str, *inputs: Any) -> OutOfMemoryError:
        """The error to raise; releases the arrays that the failed call still refers to."""
        clear_frames(error.__traceback__)
        arrays = [x for x in inputs if hasattr(x, "shape")]
        shapes = " and ".join(str(tuple(x.shape)) for x in arrays)
        wrapped = OutOfMemoryError(
            f"{type(self).__name__}.{direction}: out of memory with an input of shape {shapes}: "
            f"{str(error).rstrip('.')}. Try a smaller batch, float16, or for inference "
            "`with xpconv.no_grad():`"
        )
        with suppress(BackendError):  # other arrays have no memory pool
            wrapped.pool = getattr(get_xp(*arrays), "get_default_memory_pool", lambda: None)()
        wrapped.passes(self, {})
        return wrapped

    def fuse(self: Self) -> Self:
        """A copy for inference, with each BatchNorm folded into the layer before it.

        `BatchNorm(W x + b) = (scale · W) x + (scale · b + shift)`, with the running statistics, computed in
        float64 and cast back: the output is the same up to rounding. The copy is in inference mode and shares
        no array with this model, which does not change. A placeholder takes the place of each folded layer,
        so that all other names and indices stay the same; the state dict loses the entries of the folded
        BatchNorm layers and may gain a bias. The copy may be trained, without batch statistics. (A ReLU runs
        in the same pass over the data as the layer before it in every model, with and without `fuse`.)

        On NumPy, under `no_grad()`, every `Sequential` in inference mode runs as plans: the first forward
        with a new input shape takes longer, as it chooses the algorithms, allocates buffers and lists the
        array operations, which later forwards repeat. Unused buffers of at most 512 MB, for all models
        together, are cached for later calls. The copy's plans also hold weights that algorithms need in
        another layout or transformed (up to five times the parameters); `free_memory()` frees both.

        On a GPU, under `no_grad()`, later forwards with a shape are replays of a CUDA graph, as those of a
        model from `xpconv.cuda.graphed`.

        The arrays of the copy's parameters are read-only, so that a change cannot go unnoticed: writing into
        `parameter.data` in place is an error of NumPy. Change parameters by an optimizer, `load_state_dict`,
        `average_parameters`, `xpconv.init`, `to`, `parameter[...] = …` or a new array for `parameter.data`.
        In training mode, under an optimizer and in a new array they are writable, and their transforms are
        computed at every inference; call `fuse()` again after training.

        A BatchNorm is folded if it directly follows `Conv1d`–`3d`, `DepthwiseConv2d`, `SeparableConv2d`,
        `ConvTranspose1d`–`3d` or (on `(N, C)`) `Dense` in a `Sequential`, also a nested one. Not folded are a
        BatchNorm without running statistics, layers after one that occurs in the model more than once, and
        subclasses with a forward of their own. Do not fuse a model in which a layer of your own calls the
        parts of a `Sequential` one by one.

        Example:
            >>> import xpconv
            >>> conv = xpconv.Conv2d(3, 8, 3, bias=False)
            >>> xpconv.Sequential(conv, xpconv.BatchNorm2d(8), xpconv.ReLU()).fuse()
            Sequential(
              (0): Conv2d(3, 8, kernel_size=3)
              (1): Folded(BatchNorm2d(8))
              (2): ReLU()
            )
        """
        self._check_collections()
        fused = copy.deepcopy(self)
        fused.zero_grad()
        uses = Counter(id(child) for _, layer in fused.named_layers() for child in layer.children().values())
        for _, layer in list(fused.named_layers()):  # from the outside in
            layer._fuse_children(uses)
        for _, parameter in fused._named_parameters():
            parameter._make_read_only()
        on_gpu = any(hasattr(get_xp(p.data), "cuda") for _, p in fused._named_parameters())
        if fused._replays is None and on_gpu:
            from .replay import Replays  # here, as `import xpconv` needs it for a GPU alone

            vars(fused)["_replays"] = Replays(training=False, reports=False)
        return fused.eval()

    def _fuse_children(self, uses: Counter[int]) -> None:
        """For `fuse`: fold children into one another; `uses` has the number of uses of each layer, by id."""

    def __repr__(self) -> str:
        name, own, children = type(self).__name__, self.extra_repr(), self.children()
        if own or not children:
            return f"{name}({own})"
        lines = [f"  ({child}): {layer!r}".replace("\n", "\n  ") for child, layer in children.items()]
        return "\n".join([f"{name}(", *lines, ")"])

    def extra_repr(self) -> str:
        """The constructor's arguments, for `repr` and `summary`; with none, `repr` lists the children."""
        return ""


def runs_as(layer: Layer, kind: type[Kind]) -> TypeGuard[Kind]:
    """Whether its forward is that of `kind`, not of a subclass."""
    return isinstance(layer, kind) and type(layer).forward is kind.forward and "forward" not in vars(layer)


def arguments(*positional: Any, **named: tuple[Any, Any]) -> str:
    """A constructor's arguments as written in code: `name=(value, default)` only where the two differ.

    A tuple of equal ints is written as one int.
    """

    def short(value: Any) -> Any:
        alike = isinstance(value, tuple) and len(set(value)) == 1 and isinstance(value[0], int)
        return value[0] if alike else value

    changed = {k: short(v) for k, (v, default) in named.items() if short(v) != short(default)}
    return ", ".join([*map(repr, positional), *(f"{k}={v!r}" for k, v in changed.items())])
