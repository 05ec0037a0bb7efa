"""Originals with embeddings and recurrent layers, and of several inputs."""

import keras
import numpy as np
from keras import layers

WORDS, LENGTH = 40, 12


def sentences(words=WORDS, length=LENGTH):
    """Rows of numbers of words, the first of which stands for padding, and two classes."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, words, (150, length))
    for row, n in zip(x, rng.integers(3, length + 1, len(x)), strict=True):
        row[n:] = 0
    return x, (x.sum(axis=1) > x.sum(axis=1).mean()).astype("int64")


def compiled(model, optimizer=None, loss="binary_crossentropy"):
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return model


def text():
    """The mean of the words' vectors, classified."""
    x, y = sentences()
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(WORDS, 8),
            layers.GlobalAveragePooling1D(),
            layers.Dense(6, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    return {"model": compiled(model), "fit": {"x": x, "y": y, "batch_size": 30}}


def untrained():
    given = text()
    given["model"].layers[0].trainable = False
    return given
