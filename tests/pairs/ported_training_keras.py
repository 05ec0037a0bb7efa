"""Originals whose optimizers and schedules are those of published recipes."""

import math

import keras
import numpy as np
from keras import layers


def numbers(rows=120, columns=6):
    """Rows of a table with a number each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns)).astype("float32")
    y = (x @ rng.normal(size=columns) + rng.normal(size=rows)).astype("float32")
    return x, y[:, None]


def trained(optimizer, *, epochs=3, **arguments):
    """Eight steps an epoch."""
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8),
            layers.LayerNormalization(epsilon=1e-5),
            layers.Activation("tanh"),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer, "mse")
    x, y = numbers()
    return {
        "model": model,
        "fit": {"x": x, "y": y, "batch_size": 15, "epochs": epochs, **arguments},
    }


def warmup_cosine():
    """A linear warm-up, then half a cosine to nothing."""
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=18, warmup_target=0.05, warmup_steps=6
    )
    return trained(keras.optimizers.SGD(schedule))


class Triangular(keras.optimizers.schedules.LearningRateSchedule):
    """Up and down between two rates."""

    def __call__(self, step):
        step = keras.ops.cast(step, "float64")
        cycle = keras.ops.floor(1 + step / 8)
        x = keras.ops.abs(step / 4 - 2 * cycle + 1)
        return 0.001 + (0.05 - 0.001) * keras.ops.maximum(0.0, 1 - x)


def cyclic():
    return trained(keras.optimizers.SGD(Triangular()))


def polynomial():
    schedule = keras.optimizers.schedules.PolynomialDecay(0.05, 24, 0.001, power=1.0)
    return trained(keras.optimizers.SGD(schedule))


def by_epoch():
    """A callback that sets the rate of each epoch."""

    def rate(epoch):
        return 0.05 * math.exp(-0.2 * epoch)

    return trained(
        keras.optimizers.SGD(0.05), callbacks=[keras.callbacks.LearningRateScheduler(rate)]
    )


def excluded():
    """AdamW that leaves biases and normalisations alone."""
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.02, epsilon=1e-8)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return trained(optimizer)


def accumulated(batches=4):
    return trained(keras.optimizers.SGD(0.05, gradient_accumulation_steps=batches))


def accumulated_by_three():
    """Two of an epoch's eight batches are left for the next one."""
    return accumulated(3)


def larger_batches():
    original = trained(keras.optimizers.SGD(0.05))
    original["fit"]["batch_size"] = 60
    return original


def dropped_out(batches=4):
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, "tanh"), layers.Dropout(0.4), layers.Dense(1)]
    )
    optimizer = keras.optimizers.Adam(0.05, epsilon=1e-12, gradient_accumulation_steps=batches)
    model.compile(optimizer, "mse")
    x, y = numbers()
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 60 // (batches or 1)}}


def dropped_out_of_larger_batches():
    return dropped_out(None)


def normalised():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8),
            layers.BatchNormalization(epsilon=1e-5, momentum=0.9),
            layers.Activation("tanh"),
            layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.SGD(0.05, gradient_accumulation_steps=4), "mse")
    x, y = numbers()
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 15}}


def normalised_in_larger_batches():
    original = normalised()
    original["model"].compile(keras.optimizers.SGD(0.05), "mse")
    original["fit"]["batch_size"] = 60
    return original


def averaged():
    return trained(keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9))


def clipped_values():
    return trained(keras.optimizers.SGD(0.05, clipvalue=0.05))


def clipped_together():
    return trained(keras.optimizers.SGD(0.05, global_clipnorm=0.5))


def clipped_apart():
    return trained(keras.optimizers.SGD(0.05, clipnorm=0.1))


def lion():
    return trained(keras.optimizers.Lion(1e-3))


def centered():
    return trained(keras.optimizers.RMSprop(0.01, rho=0.95, momentum=0.5, centered=True))


def few():
    """One epoch."""
    return trained(keras.optimizers.SGD(0.05), epochs=1)


def frozen_base():
    """Transfer learning: the first layers are not trained."""
    base = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, activation="relu"), layers.BatchNormalization()],
        name="base",
    )
    base.trainable = False
    table = keras.Input((6,))
    model = keras.Model(table, layers.Dense(1)(base(table, training=False)))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    x, y = numbers()
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 15}}
