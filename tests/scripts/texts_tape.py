"""The same as `texts.py`, as a loop with GradientTape has it."""

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
optimizer = keras.optimizers.SGD(0.1)
loss_function = keras.losses.BinaryCrossentropy()

for _ in range(3):
    for x, y in dataset:
        with tf.GradientTape() as tape:
            loss = loss_function(y[:, None], model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
