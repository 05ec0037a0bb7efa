"""The Keras backend, on TensorFlow."""

from mnist_mlp_keras.backend import KerasBackend

__all__ = ["KerasBackend"]
