"""`Taped`, the base of layers and losses: calls of forward and backward, and what they put on the tape."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial, wraps
from inspect import isfunction, signature
from types import MethodType
from typing import Any, ClassVar
from weakref import ref

from .backend import Array, ignore_underflow, plain
from .errors import BackwardError
from .locks import changes, loading, loads
from .ops.shape import copy
from .signatures import call_error, is_ours, public_errors
from .tape import NOT_COPIED, Tape, Tapes, _each_array, current, observer, save_mode, separate
from .taped_checks import TapedChecks

MANY_PENDING = 32


class Taped(TapedChecks):
    """Base of layers and losses: `keep` and `recall`, and the calls of `forward` and `backward` around them.

    Each class's `forward` and `backward` are wrapped for calls from a user's code: these begin a tape, or
    continue that of the user's layer that calls, keep saved arrays apart from those of the caller, and check
    the gradient. Layers of this package run the functions themselves, which are `forward.raw` and
    `backward.raw`. So what a signal handler or `__del__` runs within a call has a tape of its own.
    """

    _default_grad: ClassVar[Any] = None
    _is_model: ClassVar[bool] = False  # whether it runs layers on its input, of which the first saves that
    _replays: Any = None  # of a model that a GPU replays: `layers.replay.Replays`

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        public_errors(cls)
        for name, wrap in (("forward", _forward_door), ("backward", _backward_door)):
            if isfunction(vars(cls).get(name)):
                setattr(cls, name, wrap(vars(cls)[name]))
        methods = (getattr(cls, name, None) for name in ("forward", "backward", "__call__"))
        cls._is_users = not all(method is None or is_ours(method) for method in methods)

    def keep(self, y: Array, *saved: Any) -> Array:
        """Save `saved` for the backward of this output, and return `y`; call it last in `forward`.

        The caller may change the inputs and `y` before backward, so saved arrays that share memory with them
        are copied, also in tuples, lists and dicts. Arrays in attributes of the layer are not.

        `backward` gets the gradient of one output. A layer may return further ones that need no gradient, as
        `MaxPool2d` does with `return_indices`: `y = self.keep(y, …)`, then `return y, indices`.

        Args:
            y: the output.
            saved: anything that `recall` is to return in `backward`.

        Returns:
            `y`.
        """
        if save_mode.get():
            tape = current.get()
            try:
                output = y.shape, y.dtype, type(y)
            except AttributeError:
                output = self._outputs_of(y)
            if tape is not None:
                tape.entries.append((ref(self), saved, *output))
            else:  # a function set in place of `forward` was called by itself
                tape = Tape()
                tape.entries.append((ref(self), _each_array(copy, saved), *output))
                self._finish(tape)
        return y

    def recall(self, grad_output: Array, input_grad: bool = True) -> tuple[Any, ...]:
        """What the latest forward saved; call it first in `backward`, with the arguments of `backward`.

        Returns:
            the arguments of `keep` after the output, as a tuple.

        Raises:
            TypeError: `input_grad` is not True or False.
            BackwardError: (a RuntimeError) there is no forward without a backward, or the latest such forward
                is another layer's.
            ShapeError, DTypeError, BackendError: `grad_output` does not fit the output of that forward.
        """
        tape = current.get()
        if tape is None:  # a function set in place of `backward` was called by itself
            tape = self._take(grad_output, input_grad)
        elif tape.unchecked:
            self._check(tape, grad_output, input_grad)
            tape.unchecked = False
        entries = tape.entries
        if not entries or entries[-1][0]() is not self:
            raise self._out_of_order(tape)
        saved = entries.pop()[1]
        while isinstance(saved, int):  # marks: its forward was called as a user's layer, or had hooks
            saved = entries.pop()[1] if entries and entries[-1][0]() is self else ()
        return saved  # type: ignore[no-any-return]

    def record(self, *inputs: Any, **named: Any) -> tuple[Array, Tape]:
        """`self(*inputs)` with its tape, which `pullback` takes, for gradients in any order or number.

        Without it, `backward` belongs to the latest forward of this layer in this thread. The tape is a
        separate one within a layer of your own, too.

        Returns:
            the output, and the tape: what the forward saved, which is freed when you drop the tape.

        Raises:
            BackwardError: (a RuntimeError) it is called within `no_grad()`.

        Example:
            >>> import numpy as np, xpconv
            >>> layer = xpconv.ReLU()
            >>> a, tape_a = layer.record(np.array([-1.0, 2.0]))
            >>> b, tape_b = layer.record(np.array([3.0, -4.0]))
            >>> layer.pullback(tape_a, np.ones(2)), layer.pullback(tape_b, np.ones(2))
            (array([0., 1.]), array([1., 0.]))
        """
        if not save_mode.get():
            raise BackwardError(f"{type(self).__name__}.record: within no_grad() nothing is saved")
        with separate():
            y = self(*inputs, **named)  # type: ignore[operator]
        return y, self._finished().pop()

    def pullback(self, tape: Tape, *args: Any, **named: Any) -> Any:
        """`backward` of the forward whose tape `record` has returned; a tape may be used again.

        Args:
            tape: the second value of `record`.
            args, named: those of `backward`: the gradient with respect to the output, and `input_grad`.

        Raises:
            TypeError: `tape` is not a tape.
            BackwardError: (a RuntimeError) it is the tape of another layer.
        """
        if not isinstance(tape, Tape):
            raise TypeError(
                f"{type(self).__name__}.pullback: tape is {type(tape).__name__}, expected the second value "
                "of record: y, tape = model.record(x)"
            )
        again = tape.again()
        (finished := self._finished()).append(again)
        try:
            with separate():
                return self.backward(*args, **named)  # type: ignore[attr-defined]
        finally:
            if again in finished:
                finished.remove(again)

    def forget(self) -> None:
        """Discard all that forwards have saved for backward, here and in all layers below, for all threads.

        Example:
            >>> import numpy as np, xpconv
            >>> layer = xpconv.ReLU()
            >>> _ = layer(np.ones(3, "float32"))
            >>> layer.forget()
        """
        vars(self).pop("_tapes", None)

    def __getstate__(self) -> dict[str, Any]:
        """The state for copies and pickles: all but what forwards saved, hooks, and other processes."""
        return {name: value for name, value in vars(self).items() if name not in NOT_COPIED}

    # --- calls from a user's code ---------------------------------------------------------------------------

    def _outermost(self, function: Callable[..., Any], inputs: tuple[Any, ...], users: bool) -> Any:
        """`function(*inputs)`, the forward of this layer, on a new tape, which this layer then holds.

        A model gets copies of its inputs. Its first layer usually saves its input, and this is faster than to
        copy that afterwards, since the new copy is in the cache.
        """
        replays = self._replays
        if replays and (y := replays.forward(self, function, inputs, users)) is not NotImplemented:
            return y
        save, watch, reachable = save_mode.get(), observer.get(), inputs
        if not users:
            inputs = reachable = tuple([plain(x) for x in inputs])
            if save and self._is_model:
                inputs, reachable = _each_array(copy, inputs), ()
        run, given = (function, inputs) if watch is None else (watch, (self, function, inputs))
        tape, outside, ended = Tape(users), current.get(), loads.ended
        try:
            current.set(tape)  # within `try`: an interrupt may come right after it
            with ignore_underflow():
                y = run(*given)
            if ended != loads.begun and not (save and getattr(self, "training", False)):
                with loading, ignore_underflow():  # another thread has replaced parameters; others wait now
                    loads.ended = loads.begun
                    current.set(tape := Tape(users))
                    y = run(*given)
        finally:
            current.set(outside)
        if y is None:
            raise self._returned_none()
        if save:
            y = self._close(tape, 0, reachable, y, users)
            self._finish(tape)
        if replays:
            replays.ran()
        return y

    def _inner(self, function: Callable[..., Any], inputs: tuple[Any, ...], users: bool, tape: Tape) -> Any:
        """The same on the tape of the call that this is in, if a user's code is on one side of this call."""
        save, was_open, start = save_mode.get(), tape.open, len(tape.entries)
        if save and users and not was_open:  # the user's code may write to arrays that it returned before
            tape.protect(tape.protected)
            tape.protected = start
            inputs = tape.apart(inputs)
        tape.open = users
        try:
            y = self._observed(function, inputs)
        except BaseException:
            del tape.entries[start:]
            raise
        finally:
            tape.open = was_open
        return self._close(tape, start, inputs, y, users) if save and (users or was_open) else y

    def _close(self, tape: Tape, start: int, inputs: tuple[Any, ...], y: Any, users: bool) -> Any:
        """Keep what was saved since `start` apart from the inputs and the output; return the output."""
        if users:
            tape.reach((inputs, y))
            tape.protect(start)
            shape, dtype = getattr(y, "shape", None), getattr(y, "dtype", None)
            tape.entries.append((ref(self), start, shape, dtype, type(y)))
            return y
        tape.protect(start, inputs)
        return tape.apart(y, start)

    def _observed(self, function: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        watch = observer.get()
        y = function(*inputs) if watch is None else watch(self, function, inputs)
        if y is None:
            raise self._returned_none()
        return y

    def _finished(self) -> list[Tape]:
        held: Tapes = vars(self).get("_tapes") or vars(self).setdefault("_tapes", Tapes())
        return held.tapes

    def _finish(self, tape: Tape) -> None:
        tape.reachable, tape.changes = [], changes.latest  # only the forward needs `reachable`
        (finished := self._finished()).append(tape)
        if len(finished) == MANY_PENDING:
            warnings.warn(
                f"{type(self).__name__}: {MANY_PENDING} forwards had no backward yet, and what they "
                "saved takes memory; wrap inference in `with xpconv.no_grad():`, or call forget()",
                RuntimeWarning,
                stacklevel=5,
            )

    def _take(self, grad_output: Any, input_grad: Any) -> Tape:
        """The tape of the latest forward, if the arguments of `backward` fit it."""
        finished = self._finished()
        if grad_output is None and self._advice:
            raise self._no_gradient()
        if not finished:
            raise BackwardError(
                f"{type(self).__name__}.backward: there is no forward without a backward; call forward "
                "before each backward, in the same thread and outside no_grad(). After a forward of a model, "
                "call backward of the model, not of its layers"
            )
        self._check(finished[-1], grad_output, input_grad)
        tape = finished.pop()
        return tape if tape.changes == changes.latest else self._unchanged(tape)

    def _enter_backward(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any], users: bool
    ) -> Any:
        """`function(*args, **named)`, a backward, where a user's code is on one side of this call."""
        tape = current.get()
        given = dict(zip(("grad_output", "input_grad"), args, strict=False)) | named
        grad_output, input_grad = given.get("grad_output", self._default_grad), given.get("input_grad", True)
        if tape is None or not tape.open:  # not from a user's backward
            outside, tape = tape, self._take(grad_output, input_grad)
            try:
                dx = tape.replay(function, args, named, users) if tape.replay else NotImplemented
                if dx is NotImplemented:
                    current.set(tape)
                    with ignore_underflow():
                        dx = self._run_backward(function, args, named, users, tape)
            except BaseException as error:
                self._explain_backward(error, grad_output)
                raise
            finally:
                current.set(outside)
            if self._after_backward is not None:
                self._after_backward()
            return dx
        self._check(tape, grad_output, input_grad)
        return self._run_backward(function, args, named, users, tape)

    def _run_backward(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        named: dict[str, Any],
        users: bool,
        tape: Tape,
    ) -> Any:
        entries, was_open, start = tape.entries, tape.open, None
        if users and entries and entries[-1][0]() is self and isinstance(entries[-1][1], int):
            start = entries.pop()[1]
        function = function if self._hooks is None else self._hooks.around(self, function, tape)
        tape.open, tape.unchecked = users, False
        try:
            dx = function(*args, **named)
        finally:
            tape.open = was_open
        if start is not None:
            del entries[start:]
        tape.unchecked = users
        return dx


def _forward_door(function: Any) -> Any:
    users = not is_ours(function)

    @wraps(function)
    def forward(self: Taped, *inputs: Any, **named: Any) -> Any:
        tape = current.get()
        run = partial(function, self, **named) if named else MethodType(function, self)
        if tape is None or not tape.open:  # not from a user's forward
            return self._outermost(run, inputs, users)
        return self._inner(run, inputs, users, tape)

    forward.raw = function  # type: ignore[attr-defined]
    return forward


def _backward_door(function: Any) -> Any:
    users = not is_ours(function)
    names = set(signature(function).parameters)

    @wraps(function)
    def backward(self: Taped, *args: Any, **named: Any) -> Any:
        if len(args) >= len(names) or named.keys() - names:
            try:
                signature(function).bind(self, *args, **named)
            except TypeError as error:
                error = TypeError(f"backward() {error}")
                raise call_error(f"{type(self).__name__}.backward", function, error) from None
        return self._enter_backward(MethodType(function, self), args, named, users)

    backward.raw = function  # type: ignore[attr-defined]
    return backward
