"""Originals with noise in training; torch has no layers for most of it."""

import keras
import numpy as np
from keras import layers


def rows():
    rng = np.random.default_rng(5)
    return rng.normal(size=(120, 12)).astype("float32"), rng.integers(0, 3, 120)


def table(*noise, rate=0.1):
    """A classifier with some work in front of its second layer."""
    x, y = rows()
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(16, activation="selu"),
            *noise,
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 16}}


def gaussian():
    return table(layers.GaussianNoise(0.2))


def multiplied():
    return table(layers.GaussianDropout(0.3))


def alpha():
    return table(layers.AlphaDropout(0.25))


def none():
    return table()


def at_the_input():
    """A denoising network: noise in front of the first layer."""
    x, _ = rows()
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.GaussianNoise(0.5),
            layers.Dense(6, activation="tanh"),
            layers.Dense(12),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return {"model": model, "fit": {"x": x, "y": x, "batch_size": 16}}


def maps():
    """Noise on maps, whose channels torch has first, and maps that are dropped as a whole."""
    rng = np.random.default_rng(6)
    x = rng.random((60, 6, 6, 2)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3),
            layers.GaussianNoise(0.1),
            layers.SpatialDropout2D(0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return {"model": model, "fit": {"x": x, "y": rng.integers(0, 3, 60), "batch_size": 16}}


class Sampled(layers.Layer):
    """The noise of a variational autoencoder, drawn by the user."""

    def call(self, inputs):
        mean, deviation = inputs
        return mean + keras.ops.exp(deviation) * keras.random.normal(keras.ops.shape(mean))


def sampled():
    x, _ = rows()
    given = keras.Input((12,))
    h = layers.Dense(8, activation="relu")(given)
    code = Sampled()([layers.Dense(2)(h), layers.Dense(2)(h)])
    model = keras.Model(given, layers.Dense(12)(layers.Dense(8, activation="relu")(code)))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return {"model": model, "fit": {"x": x, "y": x, "batch_size": 16}}


def by_hand():
    return table(Uniform())


class Uniform(layers.Layer):
    def call(self, inputs, training=False):
        if not training:
            return inputs
        return inputs + keras.random.uniform(keras.ops.shape(inputs))


# As ports of `noise_torch.gaussian`.


def gaussian_half():
    return table(layers.GaussianNoise(0.1))
