"""The NumPy backend: the reference, written out by hand."""

from mnist_mlp_numpy.backend import NumpyBackend

__all__ = ["NumpyBackend"]
