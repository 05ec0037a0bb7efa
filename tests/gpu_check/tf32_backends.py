"""Our backends with TF32 switched on, which `compare` has to recognise: `tf32_backends:Class`."""

from mnist_mlp_keras import KerasBackend
from mnist_mlp_torch import TorchBackend


class Tf32Torch(TorchBackend):
    def open(self, spec, runtime):
        flags = super().open(spec, runtime)
        import torch

        torch.set_float32_matmul_precision("high")
        torch.backends.cuda.matmul.allow_tf32 = True
        return {**flags, "tf32": True}


class Tf32Keras(KerasBackend):
    def open(self, spec, runtime):
        flags = super().open(spec, runtime)
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(True)
        return {**flags, "tf32": True}
