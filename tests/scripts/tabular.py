"""Numbers and categories, functional, inputs by name (from the structured data example)."""

import keras
import numpy as np
from keras import layers


def frame():
    rng = np.random.default_rng(77)
    age = rng.uniform(18, 90, 360)
    income = rng.lognormal(3, 0.5, 360)
    job = rng.integers(0, 7, 360)
    y = ((age / 40 + (job == 3) + rng.normal(0, 0.3, 360)) > 1.6).astype("float32")
    return age, income, job, y


age, income, job, y = frame()
numbers = np.stack([age, income], 1).astype("float32")
norm = layers.Normalization(axis=-1)
norm.adapt(numbers)

keras.utils.set_random_seed(77)
num_in = keras.Input((2,), name="numbers")
job_in = keras.Input((), dtype="int32", name="job")
h = layers.Concatenate()([norm(num_in), layers.Embedding(7, 3)(job_in)])
h = layers.Dense(16, activation="relu")(h)
h = layers.Dropout(0.2)(h)
out = layers.Dense(1, activation="sigmoid")(h)
model = keras.Model({"numbers": num_in, "job": job_in}, out)
model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.SGD(0.1), metrics=["AUC"])
model.fit({"numbers": numbers, "job": job}, y, batch_size=36, epochs=3)
