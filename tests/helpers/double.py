"""A strict stand-in for CuPy: NumPy inside, CuPy's refusals outside. It needs no GPU.

It finds, on a machine with a CPU only, code that runs on NumPy and would fail, or silently differ, on
CuPy. **It is not CuPy: never report its results as CuPy's, nor its times as a GPU's.** A name is offered
only if both CuPy 14 (by `cupy_names.json`) and NumPy have it; values are NumPy's.

    import double; double.register()                # once; then use_backend("double"), model.to("double")
    with double.count_syncs() as counter: ...       # counter.n: how often the CPU waited for the GPU; counter.copies
    python tests/helpers/double.py examples/train.py ...    # run a script, print its host synchronisations

What bites on the way from NumPy to CuPy, and what becomes of it here:

1. Integer-array indices out of range wrap, assignment to duplicate ones is undefined (unless it is of
   one scalar): both raise. So does a copy between overlapping parts of an array.
2. Elements and reductions are 0-d device arrays; `if`, `float()`, `.item()`, printing, boolean masks
   (reading *and* writing), `nonzero`, `unique` and the like wait for the GPU: counted. So, once for each
   window axis, does `sliding_window_view` (CuPy checks the window on the device); `as_strided` does not.
3. Host arrays and lists are refused as operands; and, stricter than CuPy, as indices (CuPy copies them
   to the device unseen), as are NumPy's functions on device arrays (CuPy would dispatch some).
4. ufuncs take `out, dtype, casting` only; `.reduce` and `.accumulate` exist for add and multiply only.
   Their results are C-contiguous, whatever the operands' layout is (other functions' are as NumPy's).
5. ufuncs' `.at` exists as in `_AT`. The order in which a GPU would add is not represented.
6. Parameters that CuPy's functions lack (`initial`, `where`, `mode` ...) are refused, by its signatures.
7. What CuPy lacks is missing. `xp.random` is empty: the library draws random numbers on the host.
8. A view whose elements share memory is read-only here; CuPy lets writes to it race. `as_strided` takes no
   `writeable`, and must stay inside the memory that it views, which CuPy does not check.
9. float16 that overflows in `var` and `mean(dtype=float16)`: not represented.
10. `x[...] = host_array` is refused (`x.set` is the way); `out=` wants its exact shape and a same_kind cast.
11. Denormals flushed to 0, casts of negative, nan or inf to integers: not represented (NumPy warns of some).
12. `take_along_axis`, `put_along_axis`, `einsum`, `pad` are there.
13. Memory of `empty` and `empty_like` holds anything: here NaN, True or all bits, which a result that reads it shows.

`RawModule` is there where g++ is (`emulation.py`; `conftest.py` brings it in); streams and recorded graphs, in
`xp.cuda`, within `device.present()`. Not represented are: rounding, asynchrony, the memory pool.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import operator
import re
import runpy
import sys
import types
import weakref
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np


def _words(text):
    return frozenset(text.split())


_NAMES_FILE = Path(__file__).with_name("cupy_names.json")
_NAMES = json.loads(_NAMES_FILE.read_text())  # what CuPy offers, and the parameters of functions
_NAMES["cupy"]["einsum"] = "*operands,dtype,optimize"  # where its signature says **kwargs

# CuPy's parameters that take a device array or a scalar; that take plain Python only.
_OPERANDS = _words("""self a b x y z v m p f A arr ary ar array a1 a2 ar1 ar2 arr1 arr2 prototype condition indices
    weights value values val vals fill_value a_min a_max min max dst src element test_elements choices mask filt""")
_PLAIN = _words("""shape *shape newshape axis axes *axes axis1 axis2 N M k n num reps start stop step pad_width
    source destination decimals""")
_OF_ANYTHING = _words("ndim shape size isscalar iterable iscomplexobj isrealobj")
_SYNCHRONISE = _words("""item tolist tobytes tofile dump dumps argwhere average bincount choose compress delete
    digitize extract flatnonzero histogram histogram2d histogramdd interp intersect1d nanmax nanmin nonzero place
    ravel_multi_index setdiff1d setxor1d trim_zeros union1d unique unique_all unique_counts unique_inverse
    unique_values unravel_index""")
_BLAS = _words("matmul dot tensordot einsum vdot inner outer")  # a recorded graph has cuBLAS calls of its own
_JOINS = _words("concatenate concat stack hstack vstack dstack column_stack")
_AT = {"add": "ilqILQefd", "subtract": "iI", "maximum": "iILQfd", "minimum": "iILQfd"}  # ufunc.at: its dtypes
_SCALARS = (bool, int, float, complex, np.generic)
_BASIC = (int, np.integer, slice, type(None), type(Ellipsis))


class Counter:
    """Host synchronisations, at each of which the CPU waits for all that the GPU has to do; copies from the host."""

    n = copies = 0


_bases = weakref.WeakValueDictionary()  # arrays that own their memory, by the id of NumPy's
syncs = Counter()  # all since the import
_counters = [syncs]


@contextmanager
def count_syncs():
    """Count the host synchronisations, and copies from the host, inside a `with` block."""
    _counters.append(counter := Counter())
    try:
        yield counter
    finally:
        _counters.remove(counter)


recording = (
    None  # of a CUDA graph: `device.Recording` takes what is performed, and refuses what a graph cannot hold
)


def _sync(times=1):
    if recording is not None:
        recording.refuse("waits for the device")
    for counter in _counters:
        counter.n += times


def _copy():
    if recording is not None:
        recording.refuse("copies from the host")
    for counter in _counters:
        counter.copies += 1


def _perform(function, *args, **options):
    """`function(*args, **options)`, on NumPy's arrays; all that computes goes through here."""
    if recording is not None:
        return recording.perform(function, args, options)
    return function(*args, **options)


def _wrap(value):
    """What NumPy returned as CuPy would: arrays, and scalars as 0-d arrays, on the device."""
    if type(value) is np.ndarray:
        array = object.__new__(ndarray)
        array._own(value)
        return array
    if isinstance(value, np.generic):
        return _wrap(np.asarray(value))
    if isinstance(value, (tuple, list)):
        return getattr(value, "_make", type(value))(map(_wrap, value))  # _make: of a namedtuple
    return value


def _operand(value):
    """An operand as NumPy takes it: a device array or a scalar."""
    if type(value) is ndarray:
        return value._a
    if isinstance(value, _SCALARS):
        return value
    if hasattr(value, "__cupy_get_ndarray__"):  # as CuPy's _preprocess_arg
        return value.__cupy_get_ndarray__()._a
    raise TypeError(f"Unsupported type {type(value)}: not a device array or a scalar; see xp.asarray")


def _argument(parameter, value):
    """The argument for CuPy's `parameter` as NumPy takes it."""
    if parameter in _OPERANDS:
        return None if value is None else _operand(value)
    if type(value) in (list, tuple):
        if parameter == "tup" and not all(type(x) is ndarray for x in value):
            raise TypeError("expected a sequence of device arrays; see xp.asarray")
        return type(value)([_argument(parameter, x) for x in value])
    if parameter in _PLAIN and type(value) is ndarray:
        raise TypeError(f"{parameter}: 'ndarray' object cannot be interpreted as an integer")
    return _operand(value) if isinstance(value, (ndarray, np.ndarray)) else value


def _function(name, function, parameters):
    """NumPy's `function` behind CuPy's `parameters` (None: unknown)."""
    names = parameters.split(",") if parameters else []
    named = list(itertools.takewhile(lambda n: not n.startswith("*"), names))
    rest = itertools.repeat(next((n for n in names if n.startswith("*")), ""))
    limit = len(names) if parameters is not None and "*" not in parameters else sys.maxsize
    if name in ("argmax", "argmin"):
        limit = names.index("dtype")  # from there on, positions differ from NumPy's
    any_keyword = parameters is None or "**" in parameters
    first = named[0] if named and named[0] in _OPERANDS and name not in _OF_ANYTHING else None
    allowed, waits = frozenset(names), name in _SYNCHRONISE

    def call(*args, **kwargs):
        if not any_keyword and not allowed.issuperset(kwargs):
            raise TypeError(f"{name}() got an unexpected keyword argument {min(kwargs.keys() - allowed)!r}")
        if len(args) > limit:
            raise TypeError(f"{name}() takes at most {limit} positional arguments ({len(args)} given)")
        if first and type(args[0] if args else kwargs.get(first)) is not ndarray:
            raise TypeError(f"{name}() expects a device array; see xp.asarray")
        if waits or (name == "where" and len(args) + len(kwargs) == 1):
            _sync()
        if name in _JOINS and len(args[0] if args else kwargs["tup"]) > 8:
            _copy()  # of a table of addresses
        out = kwargs.get("out")
        options = {k: _argument(k, v) for k, v in kwargs.items()} if kwargs else kwargs
        if recording is not None and name in _BLAS:
            recording.refuse("calls CuPy's own cuBLAS")
        value = _perform(function, *map(_argument, itertools.chain(named, rest), args), **options)
        if args and type(args[0]) is ndarray and value is args[0]._a:
            return args[0]  # such as astype(…, copy=False)
        return _wrap(value) if out is None else out

    return call


class ufunc:
    """One of CuPy's universal functions."""

    def __init__(self, function):
        self._f = function
        self.__name__, self.nin, self.nout = function.__name__, function.nin, function.nout

    def __call__(self, *args, out=None, dtype=None, casting="same_kind"):
        if len(args) == self.nin + 1:
            *args, out = args
        plain = [x._a if type(x) is ndarray else _operand(x) for x in args]
        if recording is not None and self.__name__ in _BLAS:
            recording.refuse("calls CuPy's own cuBLAS")
        if out is None:
            return _wrap(_perform(self._f, *plain, dtype=dtype, casting=casting, order="C"))
        if type(out) is not ndarray:
            raise TypeError("Output arguments type must be cupy.ndarray")
        shapes, shape = [getattr(x, "shape", ()) for x in plain], out.shape
        if self._f.signature:  # matmul: all axes but those that it works on
            shape = shape[: out.ndim - sum(len(s) > 1 for s in shapes)]
            shapes = [s[:-2] for s in shapes]
        if shape not in shapes and shape != np.broadcast_shapes(*shapes):
            raise ValueError("Out shape is mismatched")  # NumPy would broadcast to it
        _perform(self._f, *plain, out=out._a, dtype=dtype, casting=casting)
        return out

    def _method(self, name, owners=("add", "multiply")):
        if self.__name__ not in owners:
            raise NotImplementedError(f"`cupy_{self.__name__}.{name}` is not supported yet")
        return _function(name, getattr(self._f, name), _NAMES["cupy.ufunc"][name])

    def reduce(self, *args, **kwargs):
        return self._method("reduce")(*args, **kwargs)

    def accumulate(self, *args, **kwargs):
        return self._method("accumulate")(*args, **kwargs)

    def at(self, a, indices, b):
        self._method("at", _AT)
        if a.dtype.char not in _AT[self.__name__]:
            raise TypeError(f"cupy.{self.__name__}.at does not support {a.dtype}")
        _perform(self._f.at, a._a, _index(indices), _operand(b))


def _index(key):
    """An index as NumPy takes it, always a tuple. The host waits for the length of what a mask selects."""
    plain = []
    for k in key if type(key) is tuple else (key,):
        if type(k) is ndarray:
            k = k._a
            if k.dtype.kind == "b":
                _sync()
        elif isinstance(k, bool) or not isinstance(k, _BASIC):
            raise TypeError(f"an index of {type(k)}: CuPy would copy it to the device; do so with xp.asarray")
        plain.append(k)
    return tuple(plain)


def _unset(array):
    """Filled with what a result shows if it is read: NaN, True or an integer of all bits."""
    array[...] = np.nan if array.dtype.kind in "fc" else np.array(-1).astype(array.dtype)
    return array


def _view(array, key):
    """`array[key]` as a view even if it is of one element, where NumPy copies to a scalar."""
    value = array[key]
    return value if type(value) is np.ndarray else array[(*key, Ellipsis)]


class ndarray:
    """CuPy's array: a NumPy array in a private slot, within reach only through what CuPy offers."""

    __slots__ = ("__weakref__", "_a", "base")
    __hash__ = None
    __array_priority__ = 100
    __array_ufunc__ = None  # so NumPy's operators leave it to those below, which refuse its arrays

    def __init__(self, shape, dtype=float, *, order="C"):
        self._own(_unset(_perform(np.empty, shape, dtype, order)))

    def _own(self, value):
        """`value` as this array's; views have the array that owns the memory as `base`, as CuPy's."""
        self._a, root = value, value.base
        if isinstance(root, np.ndarray):
            found = _bases.get(id(root))
            self.base = _wrap(root) if found is None else found
        else:
            self.base = None
            _bases[id(value)] = self

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_function__(self, func, types, args, kwargs):
        raise TypeError(f"numpy.{func.__name__} of a device array: use xp.{func.__name__}")

    def get(self, stream=None, order="C", out=None, blocking=True):
        _sync()
        if out is None:
            return np.array(self._a, order=order)
        if out.dtype != self.dtype or out.shape != self.shape:
            raise ValueError(f"out: expected {self.dtype} {self.shape}, got {out.dtype} {out.shape}")
        out[...] = self._a
        return out

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self._a.flags.forc:
            raise RuntimeError("Cannot set to non-contiguous array")
        _copy()
        self._a[...] = arr

    def __getitem__(self, key):
        return _wrap(_perform(_view, self._a, _index(key)))

    def __setitem__(self, key, value):
        if not isinstance(value, (ndarray, *_SCALARS)):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        key, value = _index(key), _operand(value)
        arrays = [k for k in key if isinstance(k, np.ndarray)]
        if recording is None and np.size(value) > 1 and any(k.dtype.kind != "b" for k in arrays):
            seen = np.zeros(self.shape, bool)
            seen[key] = True
            if np.count_nonzero(seen) != seen[key].size:
                raise ValueError("assignment to duplicate indices: which value CuPy would store is undefined")
        if arrays:
            _perform(operator.setitem, self._a, key, value)
            return
        target = _view(self._a, key)
        if np.may_share_memory(target, value) and target.flags.c_contiguous:  # CuPy copies memory if alike
            alike = target.strides == value.strides and target.dtype == value.dtype
            if alike and target.ctypes.data != value.ctypes.data:
                raise ValueError("assignment between overlapping parts of an array: CuPy's copy would race")
        _perform(operator.setitem, target, ..., value)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __len__(self):
        return len(self._a)

    def __reduce__(self):
        return array, (self.get(),)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __format__(self, spec):
        return format(self.get(), spec)

    @property
    def flags(self):
        names = ("c_contiguous", "f_contiguous", "owndata", "fnc", "forc")  # CuPy knows no more
        return types.SimpleNamespace(**{name: getattr(self._a.flags, name) for name in names})

    @property
    def __cuda_array_interface__(self):
        interface = self._a.__array_interface__
        return {name: interface[name] for name in ("shape", "typestr", "data", "strides", "descr", "version")}

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._a.ctypes.data, device_id=0)


def _define_operators():
    def define(name, operate):
        setattr(ndarray, f"__{name}__", operate)

    def in_place(f):
        def operate(self, other):
            _perform(f, self._a, _operand(other), out=self._a)
            return self

        return operate

    def binary(f, a, b):
        if f is np.matmul and recording is not None:
            recording.refuse("calls CuPy's own cuBLAS")
        return _wrap(_perform(f, a, b, order="C"))

    arithmetic = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide}
    arithmetic |= {"floordiv": np.floor_divide, "mod": np.remainder, "pow": np.power}
    arithmetic |= {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
    arithmetic |= {"lshift": np.left_shift, "rshift": np.right_shift}
    comparison = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal}
    comparison |= {"gt": np.greater, "ge": np.greater_equal}
    for name, f in arithmetic.items():  # in place without matmul: CuPy has no __imatmul__
        define(f"i{name}", in_place(f))
    for name, f in (arithmetic | comparison | {"matmul": np.matmul, "divmod": np.divmod}).items():
        define(name, lambda self, other, f=f: binary(f, self._a, _operand(other)))
        if name not in comparison:
            define(f"r{name}", lambda self, other, f=f: binary(f, _operand(other), self._a))
    for name, f in {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}.items():
        define(name, lambda self, f=f: _wrap(_perform(f, self._a, order="C")))
    for f in (bool, int, float, complex, repr, str):
        define(f.__name__, lambda self, f=f: f(self.get()))


def _define_methods():
    for name in ("shape", "dtype", "ndim", "size", "strides", "nbytes", "itemsize"):
        setattr(ndarray, name, property(operator.attrgetter(f"_a.{name}")))
    for name in ("T", "mT", "real", "imag"):
        setattr(ndarray, name, property(lambda self, name=name: _wrap(getattr(self._a, name))))
    for name, parameters in _NAMES["cupy.ndarray"].items():
        if parameters is not None and hasattr(np.ndarray, name) and not hasattr(ndarray, name):
            function = getattr(np.ndarray, name)
            setattr(ndarray, name, _function(name, function, f"self,{parameters}".rstrip(",")))


_define_operators()
_define_methods()


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """A new array from host data, a device array, or a list of device arrays, which are stacked."""
    if isinstance(obj, (list, tuple)) and any(type(x) is ndarray for x in obj):
        obj, copy = xp.stack(obj), None
    if hasattr(obj, "__cupy_get_ndarray__"):
        obj = obj.__cupy_get_ndarray__()
    if type(obj) is ndarray:
        value = _perform(np.array, obj._a, dtype, copy=copy, order=order, ndmin=ndmin)
        return obj if value is obj._a else _wrap(value)
    _copy()
    value = np.array(obj, dtype, order="A" if order == "K" else order, ndmin=ndmin)  # C or F, by CuPy
    if value.dtype.kind not in "?biufcV" or value.dtype.char in "gG":
        raise ValueError(f"Unsupported dtype {value.dtype}")
    return _wrap(value)


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, copy, order or "K")


def ascontiguousarray(a, dtype=None):
    return array(a, dtype, None, "C", ndmin=1)


def asfortranarray(a, dtype=None):
    return array(a, dtype, None, "F")


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(order=order, out=out) if type(a) is ndarray else np.asarray(a, order=order)


def as_strided(x, shape=None, strides=None):
    array = owner = _operand(x)
    shape = array.shape if shape is None else tuple(shape)
    strides = array.strides if strides is None else tuple(strides)
    view = np.lib.stride_tricks.as_strided(array, shape, strides)
    while getattr(owner, "base", None) is not None:
        owner = owner.base
    if view.size and isinstance(owner, np.ndarray):
        (low, high), (first, last) = map(np.lib.array_utils.byte_bounds, (owner, view))
        if first < low or last > high:
            raise ValueError(f"as_strided: shape {shape}, strides {strides} leave the array's memory")
    reach = view.itemsize  # of the axes so far, from the smallest stride up
    for stride, n in sorted((abs(s), n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if stride < reach:
            view.flags.writeable = False
        reach += (n - 1) * stride
    return _wrap(view)


def sliding_window_view(x, window_shape, axis=None, *, subok=False, writeable=False):
    if writeable or subok:
        raise NotImplementedError("Writeable views are not supported.")
    _sync(len(window_shape) if isinstance(window_shape, (tuple, list)) else 1)
    return _wrap(np.lib.stride_tricks.sliding_window_view(_operand(x), window_shape, axis))


def put_along_axis(arr, indices, values, axis):
    index = [_wrap(i) for i in np.ogrid[tuple(map(slice, arr.shape))]]
    index[axis] = indices
    arr[tuple(index)] = values


class Module(types.ModuleType):
    """NumPy's functions under the names, and behind the parameters, that CuPy has."""

    def __init__(self, name, source, **own):
        super().__init__(name.replace("cupy", "double"))
        self.__dict__.update(own, _name=name, _source=source)

    def __getattr__(self, name):
        names = _NAMES[self._name]
        if name not in names:
            raise AttributeError(f"module {self._name!r} has no attribute {name!r}")
        value = getattr(self._source, name, NotImplemented)
        if isinstance(value, np.ufunc):
            value = ufunc(value)
        elif isinstance(value, type):
            if not issubclass(value, (np.generic, np.dtype, np.finfo, np.iinfo, np.ndindex, Exception)):
                value = NotImplemented
        elif callable(value):
            value = _function(name, value, names[name])
        elif not isinstance(value, (float, type(None), type(np.s_))):
            value = NotImplemented
        if value is NotImplemented:
            raise AttributeError(f"{self._name}.{name} is not in NumPy, or not in tests/helpers/double.py")
        setattr(self, name, value)
        return value


def _on_device(name):
    """NumPy's function that returns Python's bool or int, where CuPy's returns a 0-d array."""
    function = getattr(np, name)
    return _function(name, lambda *a, **k: np.asarray(function(*a, **k)), _NAMES["cupy"][name])


def _empty(name):
    function = getattr(np, name)
    return _function(name, lambda *a, **k: _unset(function(*a, **k)), _NAMES["cupy"][name])


_own = (array, asarray, ascontiguousarray, asfortranarray, asnumpy, put_along_axis, ndarray, ufunc)
xp = Module("cupy", np, **{own.__name__: own for own in _own}, asanyarray=asarray)
xp.linalg, xp.random = Module("cupy.linalg", np.linalg), Module("cupy.random", None)
xp.fft = Module("cupy.fft", np.fft)
xp.lib = types.SimpleNamespace(stride_tricks=Module("cupy.lib.stride_tricks", None))
xp.lib.stride_tricks.__dict__.update(as_strided=as_strided, sliding_window_view=sliding_window_view)
xp.__dict__.update({n: _on_device(n) for n in ("allclose", "array_equal", "array_equiv", "count_nonzero")})
xp.__dict__.update({n: _empty(n) for n in ("empty", "empty_like")})


@functools.cache
def register():
    """Make the double known to xpconv as the backend 'double'."""
    from xpconv import register_backend

    register_backend("double", xp, ndarray, asarray=asarray, asnumpy=asnumpy)


def _parameters(name, function):
    """The parameters of a function of CuPy, from its signature or its docstring; None if unknown."""
    if isinstance(function, type) or type(function).__name__ == "ufunc":
        return None
    try:
        found = [re.split("[:=]", str(p))[0] for p in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        line = re.match(rf"\w+\.{name}\((.*?)\)( ->|$)", function.__doc__ or "", re.MULTILINE)
        if line is None or not callable(function):
            return None
        found = [p.split("=")[0].split()[-1] for p in line[1].split(", ")]
    return ",".join(p for p in found if p not in ("self", "*", "/"))


def write_names():
    """Write `cupy_names.json` anew from the CuPy that is installed, for which no GPU is needed."""
    cupy = import_module("cupy")
    names = {"version": cupy.__version__, "regenerate": "python tests/helpers/double.py --names"}
    for part in ("", ".ndarray", ".ufunc", ".linalg", ".random", ".fft", ".lib.stride_tricks"):
        owner = functools.reduce(getattr, part.split(".")[1:], cupy)
        public = {n: getattr(owner, n) for n in dir(owner) if n[0] != "_" and n not in ("annotations", "np")}
        names["cupy" + part] = {name: _parameters(name, f) for name, f in public.items()}
    text = json.dumps(names).replace("}, ", "},\n")
    _NAMES_FILE.write_text(re.sub(r"(.{1,108}[,{}])( |$)", r"\1\n", text, flags=re.MULTILINE))


def main(argv):
    """Run a script with the double registered, then say how often it made the host wait for the device."""
    if argv == ["--names"]:
        return write_names()
    if not argv:
        sys.exit(
            "usage: python tests/helpers/double.py SCRIPT [ARGUMENT...]\n       python tests/helpers/double.py --names"
        )
    sys.path[0] = str(Path(argv[0]).resolve().parent)  # as if the script had been started by itself
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    sys.argv = argv
    register()
    syncs.n = 0  # without those of its registration
    try:
        runpy.run_path(argv[0], run_name="__main__")
    finally:
        print(f"double (NumPy behind CuPy's refusals): {syncs.n} host synchronisations", file=sys.stderr)


if __name__ == "__main__":
    import double  # what the script itself may import; this copy is called __main__

    double.main(sys.argv[1:])


def cuda_stand_in(**attributes: object) -> types.SimpleNamespace:
    """For `xp.cuda`, so that the double passes for a GPU: one device, one stream that does nothing."""
    stream = types.SimpleNamespace(ptr=0)
    return types.SimpleNamespace(
        Device=lambda: types.SimpleNamespace(id=0), get_current_stream=lambda: stream, **attributes
    )
