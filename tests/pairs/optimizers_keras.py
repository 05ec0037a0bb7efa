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


def adamax_wide():
    return compiled(keras.optimizers.Adamax(epsilon=1e-3))


def nadam():
    return compiled(keras.optimizers.Nadam())


def clipped():
    return compiled(keras.optimizers.SGD(0.01, global_clipnorm=0.5))


def clipped_each():
    return compiled(keras.optimizers.SGD(0.01, clipnorm=0.5))


def clipped_values():
    return compiled(keras.optimizers.SGD(0.01, clipvalue=0.1))


# --- Schedules ------------------------------------------------------------------------------------

schedules = keras.optimizers.schedules


def exponential():
    return compiled(keras.optimizers.SGD(schedules.ExponentialDecay(0.05, 20, 0.5)))


def exponential_momentum():
    rate = schedules.ExponentialDecay(0.05, 20, 0.5)
    return compiled(keras.optimizers.SGD(rate, momentum=0.9))


def staircase():
    rate = schedules.ExponentialDecay(0.05, 4, 0.5, staircase=True)
    return compiled(keras.optimizers.SGD(rate))


def piecewise():
    """Changes long after the judged steps."""
    rate = schedules.PiecewiseConstantDecay([15], [0.05, 0.005])
    return compiled(keras.optimizers.SGD(rate))


def cosine():
    return compiled(keras.optimizers.SGD(schedules.CosineDecay(0.05, 30, alpha=0.1)))


def polynomial():
    return compiled(keras.optimizers.SGD(schedules.PolynomialDecay(0.05, 25, power=2.0)))


def inverse_time():
    return compiled(keras.optimizers.SGD(schedules.InverseTimeDecay(0.05, 10, 0.5)))


class Own(schedules.LearningRateSchedule):
    """Casts to float32, by TensorFlow and by NumPy, of which the first is exact in float64."""

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        return keras.ops.convert_to_tensor(np.float32(0.05 / (1.0 + 0.05 * np.asarray(step))))

    def get_config(self):
        return {}


def own_schedule():
    return compiled(keras.optimizers.SGD(Own()))


def averaged():
    return compiled(keras.optimizers.SGD(0.01, use_ema=True, ema_overwrite_frequency=2))


def exponential_once():
    """A port of a loop that asks its schedule once an epoch."""
    asked = keras.callbacks.LearningRateScheduler(lambda epoch: 0.05 * 0.5 ** (epoch / 20))
    return compiled(keras.optimizers.SGD(0.05), callbacks=[asked])


def by_epoch():
    halved = keras.callbacks.LearningRateScheduler(lambda epoch: 0.05 * 0.5**epoch)
    return compiled(keras.optimizers.SGD(0.05), callbacks=[halved])


def watched():
    return compiled(
        keras.optimizers.SGD(0.01),
        epochs=12,  # long enough for both to act
        callbacks=[
            keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=5),
            keras.callbacks.EarlyStopping(patience=3),
        ],
    )
