"""Two sizes of a network, one after the other, to see whether more units help."""

import keras
import numpy as np

rng = np.random.default_rng(0)
x = rng.normal(size=(256, 6)).astype("float32")
y = np.sin(x.sum(axis=1, keepdims=True)).astype("float32")


def build(units):
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(units, activation="tanh"), keras.layers.Dense(1)]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    return model


wide = build(32)
wide.fit(x, y, batch_size=32, epochs=2, verbose=0)
narrow = build(4)
narrow.fit(x, y, batch_size=32, epochs=3, verbose=0)
print("wide", wide.evaluate(x, y, verbose=0), "narrow", narrow.evaluate(x, y, verbose=0))
