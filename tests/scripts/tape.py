"""The same prices by a loop of one's own with a tape, in plain eager mode."""

import keras
import numpy as np
import tensorflow as tf

np.random.seed(13)
train_data = np.random.normal(20.0, 8.0, (404, 13))
train_targets = train_data @ np.random.uniform(-1, 1, 13) + np.random.normal(0, 1, 404)
train_data = (train_data - train_data.mean(axis=0)) / train_data.std(axis=0)

inputs = keras.Input((13,))
x = keras.layers.Dense(32, activation="relu")(inputs)
x = keras.layers.Dense(32, activation="relu")(x)
outputs = keras.layers.Dense(1)(x)
model = keras.Model(inputs, outputs)
optimizer = keras.optimizers.SGD(0.01)
data = tf.data.Dataset.from_tensor_slices(
    (train_data.astype("float32"), train_targets.reshape(-1, 1))
).batch(16)

for epoch in range(20):
    for x, y in data:
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((model(x, training=True) - keras.ops.cast(y, "float32")) ** 2)
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
    print(f"epoch {epoch + 1}: {float(loss):.3f}")
model.save("housing.keras")
