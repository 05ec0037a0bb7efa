"""The same with one loop of a tape for both."""

import keras
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(0)
x = rng.normal(size=(256, 6)).astype("float32")
y = np.sin(x.sum(axis=1, keepdims=True)).astype("float32")
rows = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(256).batch(32)


def build(units):
    return keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(units, activation="tanh"), keras.layers.Dense(1)]
    )


def train(model, epochs):
    optimizer = keras.optimizers.SGD(0.05)
    for _ in range(epochs):
        for inputs, targets in rows:
            with tf.GradientTape() as tape:
                errors = keras.losses.mean_squared_error(targets, model(inputs, training=True))
                loss = tf.reduce_mean(errors)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)


wide = build(32)
train(wide, 2)
narrow = build(4)
train(narrow, 3)
