"""The same with a tape."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

np.random.seed(13)
data = np.random.normal(20.0, 8.0, (400, 13)).astype("float32")
targets = (data @ np.random.uniform(-1, 1, 13)).astype("float32")[:, None]
data = (data - data.mean(axis=0)) / data.std(axis=0)
weights = np.where(data[:, 0] > 0, 2.0, 0.5).astype("float32")

train = tf.data.Dataset.from_tensor_slices((data, targets, weights)).batch(16)
model = keras.Sequential(
    [layers.Input((13,)), layers.Dense(32, activation="relu"), layers.Dense(1)]
)
optimizer = keras.optimizers.SGD(0.01)
loss_of = keras.losses.MeanSquaredError()

for _ in range(5):
    for x, y, weight in train:
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True), sample_weight=weight)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
