"""Originals whose features are put together of several parts."""

import keras
import numpy as np
from keras import layers

DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(160, 10)).astype("float32")
CLASSES = DRAW.integers(0, 3, 160)
PICTURES = DRAW.normal(size=(96, 8, 8, 2)).astype("float32")
KINDS = DRAW.integers(0, 3, 96)


def fitted(inputs, x, rows=ROWS, classes=CLASSES):
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5), "sparse_categorical_crossentropy")
    return {"model": model, "fit": {"x": rows, "y": classes, "batch_size": 16, "epochs": 2}}


def towers():
    """Three towers beside each other, of two, four and six features."""
    rows = keras.Input((10,))
    parts = [layers.Dense(n, activation="tanh")(rows) for n in (2, 4, 6)]
    return fitted(rows, layers.Dense(8, activation="relu")(layers.concatenate(parts)))


def dropped_towers():
    """The same with dropout of what they are put together to."""
    rows = keras.Input((10,))
    parts = [layers.Dense(n, activation="tanh")(rows) for n in (2, 4, 6)]
    x = layers.Dropout(0.3)(layers.concatenate(parts))
    return fitted(rows, layers.Dense(8, activation="relu")(x))


def inception():
    """Windows of several sizes beside each other, normalised."""
    image = keras.Input((8, 8, 2))
    parts = [layers.Conv2D(n, k, padding="same")(image) for n, k in ((2, 1), (3, 3), (4, 5))]
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(layers.concatenate(parts))
    x = layers.Conv2D(6, 3, activation="relu")(layers.ReLU()(x))
    return fitted(image, layers.GlobalAveragePooling2D()(x), PICTURES, KINDS)
