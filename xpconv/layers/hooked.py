"""The methods of `Layer` that register hooks, and the handles that remove them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from itertools import count
from types import MethodType
from typing import Any
from weakref import ref

from ..arguments import shown
from ..backend import Array
from ..tape import current
from .hooks import change
from .modes import Modes
from .settings import note_change
from .tree import L

TAKES: dict[str, tuple[str, ...]] = {  # what the hooks of each table are called with
    "before": ("layer", "inputs"),
    "after": ("layer", "inputs", "output"),
    "back": ("layer", "grad_input", "grad_output"),
}

_numbers = count()


class HookHandle:
    """What `register_…` returns: `remove()` removes the hook, and so does the end of a `with` block."""

    def __init__(self, layer: Any, table: str, number: int) -> None:
        self._layer, self._table, self._number = ref(layer), table, number

    def remove(self) -> None:
        """Remove the hook from its layer; further calls do nothing."""
        layer = self._layer()
        if layer is not None:
            change(layer, self._table, self._number, None)
            note_change()

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Hooked(Modes[L]):
    """The part of `Layer` that registers hooks."""

    def register_forward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> HookHandle:
        """Call `hook(layer, inputs, output)` after each forward of this layer, as in PyTorch.

        `inputs` is the tuple of the inputs. The hook may return an array, which replaces the output for all
        layers after this one; backward passes the gradient on as if the output were the layer's own. It may
        also write to `output`, with the same effect.

        The layer can be anywhere in a model, and the hook gets exactly its output: a layer with a hook is not
        fused with others. Hooks are called by `layer(x)`, in the thread that calls it, not by
        `layer.forward(x)`, `summary` and `explain`. An error in a hook ends the forward.
        Copies, pickles, `fuse()` and state dicts do not contain hooks. A model with hooks cannot be
        captured as a CUDA graph.

        Args:
            hook: a function.

        Returns:
            a handle, whose `remove()` removes the hook. As a context manager it does so at the end.

        Raises:
            TypeError: `hook` is no function of three arguments; in the forward: it returns something else
                than None and an array (for several outputs, a tuple of arrays).
            ShapeError, DTypeError: (a ValueError, a TypeError) in the forward: an array that it returns has
                another shape or dtype than the output.

        Example:
            >>> import numpy as np, xpconv
            >>> model = xpconv.Sequential(xpconv.Dense(2, 1, rng=0), xpconv.ReLU())
            >>> def show(layer, inputs, output):
            ...     print(layer, inputs[0].shape, output.shape)
            >>> with model[0].register_forward_hook(show):
            ...     y = model(np.zeros((3, 2), "float32"))
            Dense(2, 1) (3, 2) (3, 1)
        """
        return self._register("register_forward_hook", "after", hook)

    def register_forward_pre_hook(self, hook: Callable[[Any, tuple[Any, ...]], Any]) -> HookHandle:
        """Call `hook(layer, inputs)` before each forward of this layer, as in PyTorch.

        It may return what the layer is to get instead: an array, or for several inputs a tuple of arrays, of
        the shapes and dtypes of the inputs. Everything else is as in `register_forward_hook`.

        Args:
            hook: a function.

        Returns:
            a handle, as from `register_forward_hook`.

        Raises:
            TypeError, ShapeError, DTypeError: as in `register_forward_hook`.

        Example:
            >>> import numpy as np, xpconv
            >>> layer = xpconv.ReLU()
            >>> handle = layer.register_forward_pre_hook(lambda layer, inputs: -inputs[0])
            >>> layer(np.array([-2.0, 1.0]))
            array([2., 0.])
            >>> handle.remove()
            >>> layer(np.array([-2.0, 1.0]))
            array([0., 1.])
        """
        return self._register("register_forward_pre_hook", "before", hook)

    def register_full_backward_hook(
        self, hook: Callable[[Any, tuple[Any, ...], tuple[Any, ...]], Any]
    ) -> HookHandle:
        """Call `hook(layer, grad_input, grad_output)` after each backward of this layer, as in PyTorch.

        Both are tuples of gradients with respect to the inputs and to the output. An input gradient that is
        not computed, such as that of a model's first layer with `input_grad=False`, is None. The hook may
        return gradients (an array or a tuple) to take the place of `grad_input` in the layers before.

        The hook is called for forwards that began after it was registered. As backward ends at the first
        layer that has something to learn, hooks of layers before that one are called only if the input
        gradient of the model is computed. On NumPy the gradients are read-only; elsewhere do not write to
        them, either. Everything else is as in `register_forward_hook`.

        Args:
            hook: a function.

        Returns:
            a handle, as from `register_forward_hook`.

        Raises:
            TypeError, ShapeError, DTypeError: as in `register_forward_hook`.

        Example:
            >>> import numpy as np, xpconv
            >>> model = xpconv.Sequential(xpconv.Dense(2, 3, rng=0), xpconv.ReLU(), xpconv.Dense(3, 1, rng=1))
            >>> norms = {}
            >>> def note(layer, grad_input, grad_output):
            ...     norms[str(layer)] = float(np.linalg.norm(grad_output[0]))
            >>> handles = [layer.register_full_backward_hook(note) for layer in model]
            >>> y = model(np.ones((4, 2), "float32"))
            >>> _ = model.backward(np.ones_like(y), input_grad=False)
            >>> norms["Dense(3, 1)"]
            2.0
        """
        return self._register("register_full_backward_hook", "back", hook)

    def _with_hooks(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The forward `function` with the layer's hooks, if it has some."""
        return function if self._hooks is None else partial(self._hooks.forward, self, function)

    def _back_with_hooks(self, backward: Any, grad_output: Array | None, input_grad: bool) -> Any:
        function = self._hooks.around(self, MethodType(backward, self), current.get())
        return function(grad_output, input_grad)

    def _register(self, method: str, table: str, hook: Any) -> HookHandle:
        where = f"{type(self).__name__}.{method}"
        takes = TAKES[table]
        expected = f"expected a function hook({', '.join(takes)})"
        if not callable(hook):
            raise TypeError(f"{where}: hook is {shown(hook)}, {expected}")
        try:
            signature(hook).bind(*takes)
        except TypeError as error:
            raise TypeError(f"{where}: hook is {shown(hook)}, {expected}: {error}") from None
        except ValueError:
            pass  # functions in C have no signature
        number = next(_numbers)
        change(self, table, number, hook)
        note_change()
        return HookHandle(self, table, number)
