"""The photographs by a loop with a tape that slices its rows itself."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.RandomState(0)
images = rng.randint(0, 256, (480, 32, 32, 3)).astype("uint8")
labels = rng.randint(0, 10, (480, 1))
x_train = images[:400].astype("float32") / 255.0
y_train = labels[:400]

model = keras.Sequential(
    [
        keras.Input((32, 32, 3)),
        layers.Conv2D(8, (3, 3), padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(16, (3, 3), strides=2, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(24, activation="relu"),
        layers.Dense(10),
    ]
)
optimizer = keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True)
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def train_batch(x, y):
    with tf.GradientTape() as tape:
        logits = model(x, training=True)
        loss_value = loss_fn(y, logits)
    grads = tape.gradient(loss_value, model.trainable_weights)
    optimizer.apply(grads, model.trainable_weights)
    return float(loss_value)


batch_size = 40
for epoch in range(3):
    order = np.random.permutation(len(x_train))
    losses = []
    for start in range(0, len(x_train), batch_size):
        chosen = order[start : start + batch_size]
        losses.append(train_batch(x_train[chosen], y_train[chosen]))
    print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")

model.save("photos.keras")
