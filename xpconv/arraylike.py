"""`ArrayLike`, the base of `Parameter`: an array's operators, indexing, methods and protocols."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

from .backend import Array, backend_of
from .errors import ShapeError

ATTRIBUTES = (
    "T", "all", "any", "argmax", "argmin", "argpartition", "argsort", "astype", "choose", "clip", "compress",
    "conj", "conjugate", "copy", "cumprod", "cumsum", "device", "diagonal", "dot", "flags", "flat",
    "flatten", "get", "imag", "item", "itemsize", "mT", "max", "mean", "min", "nbytes", "nonzero",
    "prod", "ravel", "real", "repeat", "reshape", "round", "searchsorted", "set",
    "squeeze", "std", "strides", "sum", "swapaxes", "take", "tobytes", "tolist", "trace", "transpose", "var",
)  # fmt: skip
WRITERS = ("fill", "partition", "put", "sort")  # methods that change the array
ELSEWHERE = {  # PyTorch's names of attributes and methods, with the hint to ours
    "add_": "use p += value",
    "backward": "use model.backward(criterion.backward())",
    "clamp": "use p.clip(low, high)",
    "clamp_": "use p[...] = p.clip(low, high)",
    "clone": "use p.data.copy()",
    "contiguous": "use p.data",
    "copy_": "use p[...] = array",
    "cpu": "use layer.to('numpy'), or xpconv.asnumpy(p) for an array",
    "cuda": "use layer.to('cupy'), or xpconv.asarray(p, backend='cupy') for an array",
    "detach": "use p.data",
    "dim": "use p.ndim",
    "div_": "use p /= value",
    "double": "use layer.to(dtype='float64'), or p.astype('float64') for an array",
    "element_size": "use p.itemsize",
    "fill_": "use p[...] = value, or xpconv.init.constant_(p, value)",
    "float": "use layer.to(dtype='float32'), or p.astype('float32') for an array",
    "half": "use layer.to(dtype='float16'), or p.astype('float16') for an array",
    "is_cuda": "use xpconv.get_xp(p.data)",
    "mul_": "use p *= value",
    "nelement": "use p.size",
    "norm": "use (p**2).sum() ** 0.5",
    "normal_": "use xpconv.init.normal_(p)",
    "numel": "use p.size",
    "numpy": "use xpconv.asnumpy(p)",
    "permute": "use p.transpose(axes)",
    "register_hook": "there are no hooks: change p.grad after backward",
    "sub_": "use p -= value",
    "t": "use p.T",
    "to": "use layer.to(…), or xpconv.asarray(p, dtype, backend=…) for an array",
    "type": "use layer.to(dtype=…), or p.astype(dtype) for an array",
    "uniform_": "use xpconv.init.uniform_(p)",
    "unsqueeze": "use p[None], or p.reshape(shape)",
    "zero_": "use p[...] = 0; gradients are set back by model.zero_grad()",
}
Binary = Callable[[Any, Any], Any]


def _plain(value: Any) -> Any:
    """The array of a parameter; any other value unchanged."""
    return value.data if isinstance(value, ArrayLike) else value


def _source(value: Any) -> Any:
    """A value to write to a parameter; masked arrays and arrays of other arithmetic are refused."""
    value = _plain(value)
    if hasattr(value, "strides"):
        backend_of(value)
    return value


def _left(function: Binary) -> Binary:
    """`p + other`, for one arithmetic function."""

    def left(self: Any, other: Any) -> Any:
        return function(self.data, _plain(other))

    return left


def _right(function: Binary) -> Binary:
    """`other + p`."""

    def right(self: Any, other: Any) -> Any:
        return function(_plain(other), self.data)

    return right


def _assign(in_place: Binary) -> Binary:
    """`p += other`."""

    def assign(self: Any, other: Any) -> Any:
        value = _source(other)
        self._change(lambda data: in_place(data, value))
        return self

    return assign


def _multiply(data: Array, other: Any) -> None:
    """`data @= other`, which CuPy lacks."""
    product = data @ other
    if product.shape != data.shape:
        raise ShapeError(
            f"Parameter: p @= other gives shape {product.shape}, expected {data.shape}, that of p"
        )
    data[...] = product


class ArrayLike:
    """An object with an array `data`, which can be used as that array; the results are plain arrays.

    Equality and hash are those of the object: `p == q` is whether they are the same parameter, so that lists,
    sets and dicts of parameters work. `p += 1` and `p[0] = 1` change `data` in place.
    """

    __slots__ = ()
    data: Array

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """For type checkers only: at run time it would slow down each read of `data`."""

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.data)

    def __contains__(self, value: object) -> bool:
        return bool((self.data == _plain(value)).any())

    def __getitem__(self, index: Any) -> Any:
        return self.data[_plain(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        index, value = _plain(index), _source(value)
        self._change(lambda data: operator.setitem(data, index, value))

    def _change(self, change: Callable[[Array], Any]) -> None:
        """Call `change(data)`, which writes to it."""
        change(self.data)

    def _make_writable(self) -> None:
        """Make `data` writable, for code that writes to it."""

    def _note_change(self) -> None:
        """Record that the values change; called before the change and after it."""

    def __bool__(self) -> bool:
        kind = type(self).__name__
        raise ValueError(
            f"{kind} has no truth value; use `parameter is not None`, or parameter.any() for its elements"
        )

    def __float__(self) -> float:
        return float(self.data.item())

    def __int__(self) -> int:
        return int(self.data.item())

    def __neg__(self) -> Array:
        return -self.data

    def __pos__(self) -> Array:
        return +self.data

    def __abs__(self) -> Array:
        return abs(self.data)

    __add__: ClassVar[Binary] = _left(operator.add)
    __radd__: ClassVar[Binary] = _right(operator.add)
    __iadd__: ClassVar[Binary] = _assign(operator.iadd)
    __sub__: ClassVar[Binary] = _left(operator.sub)
    __rsub__: ClassVar[Binary] = _right(operator.sub)
    __isub__: ClassVar[Binary] = _assign(operator.isub)
    __mul__: ClassVar[Binary] = _left(operator.mul)
    __rmul__: ClassVar[Binary] = _right(operator.mul)
    __imul__: ClassVar[Binary] = _assign(operator.imul)
    __truediv__: ClassVar[Binary] = _left(operator.truediv)
    __rtruediv__: ClassVar[Binary] = _right(operator.truediv)
    __itruediv__: ClassVar[Binary] = _assign(operator.itruediv)
    __floordiv__: ClassVar[Binary] = _left(operator.floordiv)
    __rfloordiv__: ClassVar[Binary] = _right(operator.floordiv)
    __ifloordiv__: ClassVar[Binary] = _assign(operator.ifloordiv)
    __mod__: ClassVar[Binary] = _left(operator.mod)
    __rmod__: ClassVar[Binary] = _right(operator.mod)
    __imod__: ClassVar[Binary] = _assign(operator.imod)
    __pow__: ClassVar[Binary] = _left(operator.pow)
    __rpow__: ClassVar[Binary] = _right(operator.pow)
    __ipow__: ClassVar[Binary] = _assign(operator.ipow)
    __matmul__: ClassVar[Binary] = _left(operator.matmul)
    __rmatmul__: ClassVar[Binary] = _right(operator.matmul)
    __imatmul__: ClassVar[Binary] = _assign(_multiply)
    __divmod__: ClassVar[Binary] = _left(divmod)
    __rdivmod__: ClassVar[Binary] = _right(divmod)
    __lt__: ClassVar[Binary] = _left(operator.lt)
    __le__: ClassVar[Binary] = _left(operator.le)
    __gt__: ClassVar[Binary] = _left(operator.gt)
    __ge__: ClassVar[Binary] = _left(operator.ge)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """For `np.asarray(p)`, which shares memory with `data` if that is a NumPy array; else a TypeError."""
        owner = backend_of(self.data)
        if owner.name != "numpy":
            raise TypeError(
                f"{type(self).__name__}: its array is on {owner.name}, which NumPy's functions cannot read; "
                "copy it to the host with xpconv.asnumpy(parameter)"
            )
        return owner.xp.array(self.data, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """NumPy's ufuncs, and `array * p`, applied to the array."""
        changed = [a for a in (*kwargs.get("out", ()), *inputs[: method == "at"]) if isinstance(a, ArrayLike)]
        for array in changed:
            array._make_writable()
            array._note_change()
        if "out" in kwargs:
            kwargs["out"] = tuple(map(_plain, kwargs["out"]))
        try:
            return getattr(ufunc, method)(*map(_plain, inputs), **kwargs)
        finally:
            for array in changed:
                array._note_change()

    def __dlpack__(self, **options: Any) -> Any:
        """For `torch.as_tensor(p)` and `np.from_dlpack(p)`, which share memory with `data`."""
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def view(self, *args: Any, **options: Any) -> Any:
        """The array as another dtype, as NumPy's; PyTorch's `view(shape)` is `reshape`."""
        sizes = args[0] if len(args) == 1 and isinstance(args[0], tuple | list) else args
        if args and all(isinstance(size, Integral) for size in sizes):
            shape = ", ".join(map(str, args))
            raise TypeError(f"{type(self).__name__}: view takes a dtype; use p.reshape({shape})")
        return self.data.view(*args, **options)

    @property
    def __cupy_get_ndarray__(self) -> Callable[[], Array]:
        """CuPy's protocol, for `array * p` and `cupy.exp(p)`; absent for a NumPy array."""
        if backend_of(self.data).name == "numpy":
            raise AttributeError("__cupy_get_ndarray__")
        return lambda: self.data


def _writer(name: str) -> Callable[..., None]:
    def write(self: Any, *args: Any, **options: Any) -> None:
        self._change(lambda data: getattr(data, name)(*args, **options))

    write.__name__ = name
    return write


def _missing(name: str) -> property:
    """A property whose error names ours; `__getattr__` would slow down each read of `data`."""

    def missing(self: Any) -> Any:
        kind = type(self).__name__
        raise AttributeError(f"{kind!r} object has no attribute {name!r}; {ELSEWHERE[name]}")

    return property(missing)


for _name in WRITERS:
    setattr(ArrayLike, _name, _writer(_name))
for _name in ATTRIBUTES:
    setattr(ArrayLike, _name, property(operator.attrgetter(f"data.{_name}")))
for _name in ELSEWHERE:
    setattr(ArrayLike, _name, _missing(_name))


def is_writable(array: Array) -> bool:
    """Whether the array may be written to; only NumPy has read-only arrays."""
    return bool(getattr(getattr(array, "flags", None), "writeable", True))


def read_only_copy(array: Array) -> Array:
    """A copy of a NumPy array that nothing can write to: its memory is a `bytes` object."""
    return backend_of(array).xp.ndarray(array.shape, array.dtype, array.tobytes())


def writable(array: Array) -> Array:
    """The array, or a copy if it is read-only, as joblib's memory maps are."""
    if is_writable(array):
        return array
    backend = backend_of(array)
    return backend.asarray(backend.xp.array(array))
