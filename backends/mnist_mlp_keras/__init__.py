"""The Keras backends: on TensorFlow, on torch and on JAX."""

from mnist_mlp_keras.backend import KerasBackend, KerasJaxBackend, KerasTorchBackend

__all__ = ["KerasBackend", "KerasJaxBackend", "KerasTorchBackend"]
