"""Originals with several outputs, each with a loss of its own."""

import keras
import numpy as np
from keras import layers


def people():
    """Rows of a table with a class, a number and a yes or no each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 7)).astype("float32")
    job = (x @ rng.normal(size=(7, 4))).argmax(axis=1)
    age = (x @ rng.normal(size=7) + rng.normal(size=160)).astype("float32")
    owner = (x @ rng.normal(size=7) > 0).astype("float32")
    return x, job, age, owner


def by_name(weights=None, cut=False, **changes):
    """A dictionary of targets, as the functional guide has it."""
    x, job, age, owner = people()
    table = keras.Input((7,))
    h = layers.Dense(9, activation="relu")(table)
    h = layers.Dropout(0.2)(h)
    outputs = [
        layers.Dense(4, activation="softmax", name="job")(h),
        layers.Dense(1, name="age")(keras.ops.stop_gradient(h) if cut else h),
        layers.Dense(1, activation="sigmoid", name="owner")(h),
    ]
    model = keras.Model(table, outputs)
    losses = {
        "job": "sparse_categorical_crossentropy",
        "age": "mse",
        "owner": "binary_crossentropy",
    }
    model.compile(
        keras.optimizers.SGD(0.05),
        loss={**losses, **changes},
        loss_weights=weights or {"job": 1.0, "age": 0.3, "owner": 0.5},
        metrics={"job": "accuracy", "owner": "accuracy"},
    )
    targets = {"job": job, "age": age, "owner": owner}
    return {"model": model, "fit": {"x": x, "y": targets, "batch_size": 16}}


def by_name_equal_weights():
    return by_name({"job": 1.0, "age": 1.0, "owner": 1.0})


def by_name_cut():
    return by_name(cut=True)


def by_name_other_loss():
    return by_name(age="mae")


def two_numbers(second="mse", weights=(1.0, 0.3)):
    """Two outputs of one shape, in a list."""
    x, _, age, _ = people()
    table = keras.Input((7,))
    h = layers.Dense(9, activation="tanh")(table)
    model = keras.Model(table, [layers.Dense(1, name="age")(h), layers.Dense(1, name="height")(h)])
    model.compile(keras.optimizers.SGD(0.05), loss=["mse", second], loss_weights=list(weights))
    return {"model": model, "fit": {"x": x, "y": [age, age * 0.5 + x[:, 0]], "batch_size": 16}}


def alike():
    """The same, with losses that are the same, too."""
    return two_numbers(weights=(1.0, 1.0))


def nameless():
    """Images with a class and a position, of which nobody brings rows."""
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)(x)
    x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = {
        "kind": layers.Dense(5, activation="softmax")(x),
        "place": layers.Dense(2)(x),
    }
    model = keras.Model(image, outputs)
    model.compile(
        keras.optimizers.SGD(0.05),
        loss={"kind": "categorical_crossentropy", "place": keras.losses.Huber(0.5)},
        loss_weights={"kind": 1.0, "place": 2.0},
    )
    return model
