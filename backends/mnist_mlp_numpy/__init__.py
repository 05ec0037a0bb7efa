"""The NumPy backend: trains with the formulas of the reference, without a framework."""

from mnist_mlp_numpy.backend import NumpyBackend

__all__ = ["NumpyBackend"]
