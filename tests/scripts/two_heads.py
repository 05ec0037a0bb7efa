"""A shared trunk with two heads: which kind a sample is of, and how large it is."""

import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(21)
samples = rng.normal(size=(400, 8)).astype("float32")
kinds = (samples @ rng.normal(size=(8, 3))).argmax(axis=1)
sizes = (samples @ rng.normal(size=8) + rng.normal(size=400)).astype("float32")

inputs = keras.Input((8,))
shared = layers.Dense(16, activation="relu")(inputs)
outputs = {
    "kind": layers.Dense(3, activation="softmax", name="kind")(shared),
    "size": layers.Dense(1, name="size")(shared),
}
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
    loss={"kind": "sparse_categorical_crossentropy", "size": "mse"},
    loss_weights={"kind": 1.0, "size": 0.2},
    metrics={"kind": ["accuracy"], "size": ["mae"]},
)
model.fit(samples, {"kind": kinds, "size": sizes}, epochs=12, batch_size=32, verbose=0)
