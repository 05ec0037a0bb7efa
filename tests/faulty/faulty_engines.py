"""Keras on its other engines, each with one fault; named as `module:Class`."""

from mnist_mlp_keras import KerasJaxBackend, KerasTorchBackend


class TorchRateBackend(KerasTorchBackend):
    """Trains at ten times the learning rate."""

    def open(self, spec, runtime):
        optimizer = spec.optimizer.model_copy(update={"learning_rate": 0.5})
        return super().open(spec.model_copy(update={"optimizer": optimizer}), runtime)


class JaxGeluBackend(KerasJaxBackend):
    """Has the default GELU of `jax.nn`, which is the approximate one."""

    def open(self, spec, runtime):
        import keras

        import mnist_mlp_keras.model as ours

        ours.gelu = lambda z: keras.activations.gelu(z, approximate=True)
        return super().open(spec, runtime)
