"""`Embedding`: a learned vector for each index."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import init
from ..arguments import to_bool, to_float, to_int, to_size
from ..arraylike import read_only_copy, writable
from ..backend import Array, backend_of
from ..errors import BackendError, DTypeError
from ..ops import embedding as ops
from ..parameter import Parameter, new_parameter
from ..random import RNG, default_rng
from .layer import Layer, arguments

__all__ = ["Embedding"]


class Embedding(Layer):
    """`y = weight[x]`: a learned vector for each index, as `torch.nn.Embedding`.

    `x` `(*)` of any integer dtype gives `y` `(*, embedding_dim)`; `weight` is `(num_embeddings,
    embedding_dim)` and starts normal, of mean 0 and deviation 1. Indices have no gradient: `backward`
    adds the gradient of `weight`, `dweight[v] = Σ grad_output` over the positions where `x = v`, and always
    returns None. The sum is deterministic on every device. Forward saves the indices.

    An index outside `[0, num_embeddings)` raises ValueError on the CPU. On a GPU, where that check would
    synchronise in every batch, its vector is NaN and it adds to no row's gradient.

    There is no `from_pretrained`: use `load_state_dict({"weight": vectors})`.

    Args:
        num_embeddings: number of rows.
        embedding_dim: length of each.
        padding_idx: a row that starts as zeros and gets no gradient; negative ones count from the end.
        max_norm: before the lookup, rows with a larger norm are scaled down to it in place, in inference too.
        norm_type: the p of the norm `(Σ |w|^p)^(1/p)`, above 0; `math.inf` for the maximum norm.
        scale_grad_by_freq: divide each row's gradient by the number of times the batch holds its index.
        sparse: accepted for PyTorch's signature, without effect: the gradient is a dense array.
        rng: `numpy.random.Generator` or seed for the initial values; None takes that of `manual_seed`.
        dtype: floating dtype of `weight`, and so of `y`.

    Raises:
        ValueError: a size below 1, `padding_idx` or an index out of range, a negative `max_norm`, a
            `norm_type` that is not positive.
        DTypeError, BackendError: (TypeErrors) `x` is not of integers, or not on the parameters' backend.

    Example:
        >>> import numpy as np, xpconv
        >>> layer = xpconv.Embedding(10, 3, padding_idx=0, rng=0)
        >>> layer(np.array([[1, 2, 4, 0], [4, 3, 9, 0]])).shape
        (2, 4, 3)
        >>> layer.backward(np.ones((2, 4, 3), "float32"))
        >>> layer.weight.grad[:, 0]
        array([0., 1., 1., 1., 2., 0., 0., 0., 0., 1.], dtype=float32)
    """

    num_embeddings: int
    max_norm: float | None
    weight: Parameter
    _input_dtypes = ("int64",)
    fixed: ClassVar[tuple[str, ...]] = (
        "num_embeddings",
        "embedding_dim",
        "padding_idx",
        "max_norm",
        "norm_type",
        "scale_grad_by_freq",
        "sparse",
    )

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        *,
        rng: RNG = None,
        dtype: Any = "float32",
    ) -> None:
        name = type(self).__name__
        self.num_embeddings = size = to_size(f"{name}: num_embeddings", num_embeddings)
        self.embedding_dim: int = to_size(f"{name}: embedding_dim", embedding_dim)
        if padding_idx is not None:
            place = to_int(f"{name}: padding_idx", padding_idx)
            if not -size <= place < size:
                raise ValueError(
                    f"{name}: padding_idx is {padding_idx}, expected {-size} to {size - 1} "
                    f"(num_embeddings={size})"
                )
            padding_idx = place % size
        self.padding_idx = padding_idx
        self.max_norm = None if max_norm is None else to_float(f"{name}: max_norm", max_norm, 0.0)
        self.norm_type: float = to_float(f"{name}: norm_type", norm_type)
        if not self.norm_type > 0:
            raise ValueError(f"{name}: norm_type is {norm_type}, expected a number above 0")
        self.scale_grad_by_freq: bool = to_bool(f"{name}: scale_grad_by_freq", scale_grad_by_freq)
        self.sparse: bool = to_bool(f"{name}: sparse", sparse)
        shape = (size, self.embedding_dim)
        self.weight = init.normal_(new_parameter(name, "weight", shape, dtype), rng=default_rng(rng, name))
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, x: Array) -> Array:
        xp = self._enter(x, self.weight)
        indices = x.reshape(-1).astype("int64")  # a copy, as the caller may change x before backward
        if self.max_norm is not None:
            self._renormalize(xp, indices, self.max_norm)
        y = ops.embedding(xp, indices, self.weight.data).reshape(*x.shape, self.embedding_dim)
        return self.keep(y, xp, indices)

    def _renormalize(self, xp: Any, indices: Array, max_norm: float) -> None:
        """In place, or in a copy of weights that are read-only, as those of a fused model are."""
        weight = self.weight.data
        own = writable(weight)
        ops.renormalize(xp, indices, own, max_norm, self.norm_type)
        if own is not weight and (own != weight).any():
            self.weight._place(read_only_copy(own) if self.weight._is_read_only() else own)

    def backward(self, grad_output: Array, input_grad: bool = True) -> None:
        xp, indices = self.recall(grad_output, input_grad)
        if not self.weight.requires_grad:
            return
        grad = grad_output.reshape(len(indices), self.embedding_dim)
        size = self.num_embeddings
        self.weight.accumulate(
            ops.embedding_backward(xp, grad, indices, size, self.padding_idx, self.scale_grad_by_freq)
        )

    def _enter(self, x: Array, *parameters: Parameter | Array | None, or_narrower: bool = False) -> Any:
        """Check that `x` holds integers, on `weight`'s backend, and on the CPU their range; return `xp`."""
        name, size = type(self).__name__, self.num_embeddings
        owner, home = self._owner(x), backend_of(self.weight.data)
        if owner is not home:
            raise BackendError(
                f"{name}.forward: x is {owner.name} but its parameters are {home.name}; call "
                f"layer.to({owner.name!r}) or xpconv.asarray(x, backend={home.name!r})"
            )
        if x.dtype.kind not in "iu":
            raise DTypeError(
                f"{name}.forward: x is {x.dtype}, expected integer indices; use x.astype('int64')"
            )
        if owner.name == "numpy" and x.size and not 0 <= x.min() <= x.max() < size:
            bad = x.min() if x.min() < 0 else x.max()
            raise ValueError(
                f"{name}.forward: x holds index {bad}, expected 0 to {size - 1} (num_embeddings={size})"
            )
        return owner.xp

    def extra_repr(self) -> str:
        return arguments(
            self.num_embeddings,
            self.embedding_dim,
            padding_idx=(self.padding_idx, None),
            max_norm=(self.max_norm, None),
            norm_type=(self.norm_type, 2.0),
            scale_grad_by_freq=(self.scale_grad_by_freq, False),
            sparse=(self.sparse, False),
        )
