"""Originals with embeddings and recurrent layers, of which each optimizer makes its own.

Two biases may be one variable or two, and a gradient may be sparse.
"""

import keras
import numpy as np
from keras import layers, optimizers


def series():
    """Rows of numbers over time, and four classes."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 10, 3)).astype("float32")
    return x, rng.integers(0, 4, len(x))


def classifier(layer, optimizer):
    x, y = series()
    model = keras.Sequential([keras.Input(x.shape[1:]), layer, layers.Dense(4)])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 30}}


def lstm():
    return classifier(layers.LSTM(5), optimizers.Adam(1e-3))


def gru():
    return classifier(layers.GRU(5), optimizers.RMSprop(1e-3))


def clipped_gru():
    return classifier(layers.GRU(5), optimizers.SGD(0.1, global_clipnorm=0.05))


def clipped_by_tensor():
    return classifier(layers.GRU(5), optimizers.SGD(0.1, clipnorm=0.01))


def decayed_lstm():
    optimizer = optimizers.SGD(0.1, weight_decay=0.01)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return classifier(layers.LSTM(5), optimizer)


class Falling(optimizers.schedules.LearningRateSchedule):
    """One of one's own, without a configuration."""

    def __call__(self, step):
        return 0.01 / (1 + keras.ops.cast(step, keras.config.floatx()))


def words():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 40, (150, 12)), rng.integers(0, 4, 150)
    model = keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            layers.Embedding(40, 3),
            layers.LSTM(5),
            layers.Dense(4),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizers.Adam(Falling()), loss)
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 30, "epochs": 3}}
