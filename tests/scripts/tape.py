"""A loop of one's own in Keras."""

import keras
import numpy as np
import tensorflow as tf

inputs = keras.Input((13,))
outputs = keras.layers.Dense(1)(keras.layers.Dense(32, activation="relu")(inputs))
model = keras.Model(inputs, outputs)
optimizer = keras.optimizers.SGD(0.01)
data = tf.data.Dataset.from_tensor_slices(
    (np.random.normal(size=(100, 13)), np.random.normal(size=(100, 1)))
).batch(10)

for x, y in data:
    with tf.GradientTape() as tape:
        loss = keras.ops.mean((model(x, training=True) - y) ** 2)
    gradients = tape.gradient(loss, model.trainable_weights)
    optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
