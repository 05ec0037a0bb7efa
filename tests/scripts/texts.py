"""Texts of different lengths by an LSTM, each batch padded to its longest one."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.default_rng(0)
texts = [rng.integers(1, 60, n) for n in 3 + rng.geometric(0.3, 200)]
labels = np.array([text.mean() > 30 for text in texts], "float32")

dataset = (
    tf.data.Dataset.from_generator(
        lambda: zip(texts, labels, strict=True),
        output_signature=(tf.TensorSpec((None,), tf.int64), tf.TensorSpec((), tf.float32)),
    )
    .shuffle(200)
    .padded_batch(32)
)

model = keras.Sequential(
    [
        layers.Embedding(60, 8, mask_zero=True),
        layers.LSTM(6),
        layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.1), loss="binary_crossentropy")
model.fit(dataset, epochs=3)
