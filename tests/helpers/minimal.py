"""An array library that has what `xpconv/array_library.py` lists, and nothing else: NumPy inside.

Its arrays have no `base` and no `flags`, and show no address; the module has no `as_strided`.

    with minimal.registered(): ...    # the backend "minimal"
"""

import types
from contextlib import contextmanager

import numpy as np

import xpconv
from xpconv import array_library, backend

INDEXING = ("getitem", "setitem", "len", "bool", "int", "float")


def _plain(value):
    """Arrays of the library, also in lists, as NumPy's; others of NumPy are refused."""
    if isinstance(value, ndarray):
        return value._a
    if isinstance(value, np.ndarray):
        raise TypeError("an array of the host; see asarray")
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value


def _wrapped(value):
    if isinstance(value, (np.ndarray, np.number, np.bool_)):
        array = object.__new__(ndarray)
        array._a = np.asarray(value)
        return array
    return list(map(_wrapped, value)) if isinstance(value, list) else value


def _function(function):
    def call(*arguments, **options):
        out = options.get("out")
        value = function(*map(_plain, arguments), **{name: _plain(v) for name, v in options.items()})
        return _wrapped(value) if out is None else out

    return call


class ndarray:
    """The library's array."""

    __slots__ = ("_a",)
    __hash__ = None
    __array_ufunc__ = None

    def __array__(self, dtype=None, copy=None):
        raise TypeError("no conversion to NumPy unasked; see asnumpy")


def _property(name):
    return property(lambda self: _wrapped(getattr(self._a, name)))


def _in_place(name):
    def operator(self, other):
        getattr(self._a, name)(_plain(other))
        return self

    return operator


def _define():
    for name in array_library.METHODS:
        is_method = callable(getattr(np.ndarray, name))
        own = _function(getattr(np.ndarray, name)) if is_method else _property(name)
        setattr(ndarray, name, own)
    for name in array_library.OPERATORS:
        dunder = f"__{name}__"
        in_place = name[0] == "i" and name[1:] in array_library.OPERATORS
        own = _in_place(dunder) if in_place else _function(getattr(np.ndarray, dunder))
        setattr(ndarray, dunder, own)


def _library():
    module = types.ModuleType("minimal")
    module.linalg = types.ModuleType("minimal.linalg")
    for name in array_library.FUNCTIONS:
        *parts, last = name.split(".")
        owner, source = (module.linalg, np.linalg) if parts else (module, np)
        value = getattr(source, last)
        if callable(value) and not isinstance(value, type):
            value = _function(value)
        setattr(owner, last, value)
    module.asarray = lambda a, dtype=None: a if isinstance(a, ndarray) else _wrapped(np.array(a, dtype))
    return module


_define()
xp = _library()


def asnumpy(array):
    return array._a.copy()


class returning:
    """NumPy as a library whose functions return arrays of `kind`, a subclass of NumPy's."""

    __name__ = "returning"

    def __init__(self, kind):
        self.kind = kind

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found

        def call(*arguments, **options):
            value = found(*arguments, **options)
            return value.view(self.kind) if isinstance(value, np.ndarray) else value

        return call


@contextmanager
def registered(**options):
    """The backend 'minimal' within a `with` block."""
    xpconv.register_backend("minimal", xp, ndarray, asnumpy=asnumpy, **options)
    try:
        yield
    finally:
        del backend._backends["minimal"]
        backend._owner_of.clear()
