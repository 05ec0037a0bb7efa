"""Originals that report numbers of their epochs; 70 rows in batches of 20 end in one of 10."""

import keras
import numpy as np
from keras import layers


def rows():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(70, 8, 2)).astype("float32")
    return x, x[:, :, 0] @ rng.normal(size=8) + 0.3


def fitted(last, loss, metrics, y, **options):
    model = keras.Sequential(
        [
            keras.Input((8, 2)),
            layers.Conv1D(4, 3, activation="relu"),
            layers.BatchNormalization(momentum=0.9),
            layers.Flatten(),
            last,
        ]
    )
    model.compile(keras.optimizers.SGD(0.2), loss, metrics=metrics)
    return {"model": model, "fit": {"x": rows()[0], "y": y, "batch_size": 20, **options}}


def classes():
    keras.utils.set_random_seed(1)  # else a wrong number may happen to be the right one
    y = np.digitize(rows()[1], (-1.5, 0, 2))
    last = layers.Dense(4, activation="softmax")
    loss, held_out = "sparse_categorical_crossentropy", (rows()[0][:20], y[:20])
    return fitted(last, loss, ["accuracy"], y, validation_data=held_out)


def binary():
    keras.utils.set_random_seed(1)
    y = (rows()[1] > -4).astype("float32")
    metrics = ["accuracy", keras.metrics.AUC(), "mae"]
    return fitted(layers.Dense(1, activation="sigmoid"), "binary_crossentropy", metrics, y)


def binary_logits():
    y = (rows()[1] > -4).astype("float32")
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    metric = keras.metrics.BinaryAccuracy(threshold=0.0)
    return fitted(layers.Dense(1), loss, [metric], y)


def regression():
    keras.utils.set_random_seed(1)
    y = rows()[1].astype("float32")
    return fitted(layers.Dense(1), "mse", ["mse", "mae"], y)


def threshold():
    """Compares logits with 0.5: the port of `binary_logits` in torch is right."""
    y = (rows()[1] > -4).astype("float32")
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    return fitted(layers.Dense(1), loss, ["accuracy"], y)
