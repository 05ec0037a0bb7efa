"""Originals with layers of a user's own, whose weights the other side may have in layers of the
framework's."""

import keras
import numpy as np
from keras import layers, ops

DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(160, 10)).astype("float32")
CLASSES = DRAW.integers(0, 3, 160)
NUMBERS = (ROWS[:, :1] - 0.5 * ROWS[:, 1:2] + 0.1 * DRAW.normal(size=(160, 1))).astype("float32")
WORDS = DRAW.integers(0, 30, (160, 6)).astype("int32")


class OwnDense(layers.Layer):
    """A dense layer by hand."""

    def __init__(self, units, activation=None, **options):
        super().__init__(**options)
        self.units, self.activation = units, keras.activations.get(activation)

    def build(self, shape):
        self.kernel = self.add_weight(
            shape=(shape[-1], self.units), initializer="glorot_uniform", name="kernel"
        )
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, x):
        return self.activation(ops.matmul(x, self.kernel) + self.bias)


def fitted(model, loss, y, x=ROWS):
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5), loss)
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 16, "epochs": 2}}


def dense():
    """One dense layer by hand among those of Keras."""
    net = [keras.Input((10,)), OwnDense(16, "tanh"), layers.Dense(3, activation="softmax")]
    return fitted(keras.Sequential(net), "sparse_categorical_crossentropy", CLASSES)


def every():
    """All weights are in layers by hand."""
    net = [keras.Input((10,)), OwnDense(16, "tanh"), OwnDense(3, "softmax")]
    return fitted(keras.Sequential(net), "sparse_categorical_crossentropy", CLASSES)


def square():
    """Kernels by hand as wide as they are high, so that shapes do not tell how they lie."""
    net = [keras.Input((10,)), OwnDense(10, "tanh"), OwnDense(10, "tanh"), OwnDense(1)]
    return fitted(keras.Sequential(net), "mse", NUMBERS)


def layers_of_keras():
    """Dense layers of Keras, for ports by hand."""
    net = [keras.Input((10,)), layers.Dense(16, activation="tanh")]
    model = keras.Sequential([*net, layers.Dense(8, activation="tanh"), layers.Dense(1)])
    return fitted(model, "mse", NUMBERS)


class Positions(layers.Layer):
    """A table of positions, one row for each step."""

    def build(self, shape):
        self.table = self.add_weight(
            shape=(shape[1], shape[2]), initializer="random_normal", name="table"
        )

    def call(self, x):
        return x + self.table


class EmbeddedPositions(layers.Layer):
    """The same as an embedding of the steps' numbers."""

    def build(self, shape):
        self.steps = shape[1]
        self.positions = layers.Embedding(
            shape[1], shape[2], embeddings_initializer=keras.initializers.RandomNormal(stddev=0.05)
        )
        self.positions.build((None, shape[1]))

    def call(self, x):
        return x + self.positions(ops.arange(self.steps))


def _words(positions):
    words = keras.Input((6,), dtype="int32")
    x = layers.Embedding(30, 8)(words)
    x = positions(x)
    x = layers.Dense(12, activation="relu")(x)
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(words, layers.Dense(3, activation="softmax")(x))
    return fitted(model, "sparse_categorical_crossentropy", CLASSES, WORDS)


def positions():
    """A table of positions of one's own."""
    return _words(Positions())


def embedded_positions():
    """Positions that Keras embeds."""
    return _words(EmbeddedPositions())
