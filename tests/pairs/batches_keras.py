"""Originals whose ports get their batches by name."""

import keras
import numpy as np
from keras import layers


def images():
    """Small images and their classes."""
    rng = np.random.default_rng(3)
    return rng.random((120, 6, 6, 2)).astype("float32"), rng.integers(0, 4, 120)


def named():
    x, y = images()
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(5, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 16}}


def two():
    """Two inputs by name."""
    rng = np.random.default_rng(4)
    x = {
        name: rng.normal(size=(120, n)).astype("float32") for name, n in (("wide", 7), ("deep", 3))
    }
    deep, wide = keras.Input((3,), name="deep"), keras.Input((7,), name="wide")
    h = layers.Dense(6, activation="tanh")(deep)
    model = keras.Model(
        {"deep": deep, "wide": wide}, layers.Dense(1)(layers.Concatenate()([h, wide]))
    )
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return {"model": model, "fit": {"x": x, "y": x["wide"][:, :1], "batch_size": 16}}
