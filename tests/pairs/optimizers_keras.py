"""One network on a table, under each optimizer of Keras."""

import keras
import numpy as np
from keras import layers


def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 7)).astype("float32")
    return x, (x @ rng.normal(size=7) + rng.normal(size=160)).astype("float32")


def compiled(optimizer, **fit):
    x, y = table()
    model = keras.Sequential(
        [keras.Input((7,)), layers.Dense(9, activation="tanh"), layers.Dense(1)]
    )
    model.compile(optimizer, "mse")
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 16, "epochs": 3, **fit}}


def sgd():
    return compiled(keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=1e-2))


def plain_sgd():
    return compiled(keras.optimizers.SGD(0.01))


def adam():
    return compiled(keras.optimizers.Adam(0.002))


def amsgrad():
    return compiled(keras.optimizers.Adam(0.002, amsgrad=True))


def adamw():
    return compiled(keras.optimizers.AdamW(0.002))


def kernels_decay():
    optimizer = keras.optimizers.AdamW(0.002)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return compiled(optimizer)


def rmsprop():
    return compiled(keras.optimizers.RMSprop())


def centered():
    return compiled(keras.optimizers.RMSprop(0.002, momentum=0.9, centered=True))


def adagrad():
    return compiled(keras.optimizers.Adagrad())


def adadelta():
    return compiled(keras.optimizers.Adadelta(0.5))


def adamax():
    return compiled(keras.optimizers.Adamax())


def nadam():
    return compiled(keras.optimizers.Nadam())


def clipped():
    return compiled(keras.optimizers.SGD(0.01, global_clipnorm=0.5))


def clipped_each():
    return compiled(keras.optimizers.SGD(0.01, clipnorm=0.5))


def clipped_values():
    return compiled(keras.optimizers.SGD(0.01, clipvalue=0.1))
