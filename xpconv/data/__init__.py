"""Data to learn from: `load_digits`, `load_mnist`, the file format `load_idx`, and mini-`batches`."""

from .batches import batches
from .datasets import Split, load_digits, load_mnist
from .idx import load_idx

__all__ = ["Split", "batches", "load_digits", "load_idx", "load_mnist"]
