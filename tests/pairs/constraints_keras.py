"""Originals whose weights are constrained after every update."""

import keras
import numpy as np
from keras import constraints, layers


def rows():
    rng = np.random.default_rng(8)
    return rng.normal(size=(120, 9)).astype("float32"), rng.integers(0, 3, 120)


def table(optimizer=None, **options):
    x, y = rows()
    model = keras.Sequential(
        [
            keras.Input((9,)),
            layers.Dense(7, activation="tanh", **options),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer or keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 16}}


def none():
    return table()


def max_norm():
    return table(kernel_constraint=constraints.MaxNorm(0.8))


def max_norm_by_inputs():
    return table(kernel_constraint=constraints.MaxNorm(0.8, axis=1))


def max_norm_and_momentum():
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    return table(optimizer, kernel_constraint=constraints.MaxNorm(0.8))


def non_neg():
    return table(kernel_constraint="non_neg", bias_constraint="non_neg")


def unit_norm():
    return table(kernel_constraint="unit_norm")


def min_max():
    return table(kernel_constraint=constraints.MinMaxNorm(0.5, 0.9, rate=0.5))


class Ternary(constraints.Constraint):
    """The user's own."""

    def __call__(self, w):
        return keras.ops.round(w * 20) / 20


def own():
    return table(kernel_constraint=Ternary())


def filters():
    rng = np.random.default_rng(9)
    x = rng.random((60, 6, 6, 2)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, kernel_constraint=constraints.MaxNorm(0.7, axis=[0, 1, 2])),
            layers.GlobalMaxPooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return {"model": model, "fit": {"x": x, "y": rng.integers(0, 3, 60), "batch_size": 16}}
