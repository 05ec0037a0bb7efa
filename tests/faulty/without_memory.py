"""Backends for which memory runs out, in the words of their frameworks; `without_memory:Class`."""

from mnist_mlp_keras import KerasBackend
from mnist_mlp_numpy import NumpyBackend
from mnist_mlp_torch import TorchBackend


class TensorFlowBackend(KerasBackend):
    """The framework's own class, with the text of its allocator on a GPU."""

    def fit(self, plan, data, progress):
        import tensorflow as tf

        text = (
            "Graph execution error:\n\nDetected at node sequential/hidden/MatMul\n"
            "OOM when allocating tensor with shape[52500,457000] and type float on "
            "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc"
        )
        raise tf.errors.ResourceExhaustedError(None, None, text)


class CudaBackend(TorchBackend):
    """Likewise for CUDA's."""

    def fit(self, plan, data, progress):
        import torch

        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 89.50 GiB. GPU 0 has a total capacity of "
            "79.11 GiB of which 78.62 GiB is free."
        )


class RealBackend(TorchBackend):
    """Asks for more than any machine has."""

    def fit(self, plan, data, progress):
        import torch

        torch.empty(10**16)


class HostBackend(NumpyBackend):
    def fit(self, plan, data, progress):
        import numpy as np

        np.empty(10**16)
