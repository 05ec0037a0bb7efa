"""Transfer learning in two phases: a frozen base, then fine-tuning at a lower rate."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(5)
rng = np.random.default_rng(5)
labels = rng.integers(0, 3, 240)
images = rng.random((240, 12, 12, 3)).astype("float32")
for i, k in enumerate(labels):
    images[i, :, :, k] += 0.4

base = keras.Sequential(
    [
        keras.Input((12, 12, 3)),
        layers.Conv2D(6, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(8, 3, strides=2),
        layers.ReLU(),
    ],
    name="base",
)
base.trainable = False

inputs = keras.Input((12, 12, 3))
x = base(inputs, training=False)
x = layers.GlobalAveragePooling2D()(x)
outputs = layers.Dense(3)(x)
model = keras.Model(inputs, outputs)

model.compile(
    optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=[keras.metrics.SparseCategoricalAccuracy()],
)
model.fit(images, labels, epochs=3, batch_size=24)

base.trainable = True
model.compile(
    optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=[keras.metrics.SparseCategoricalAccuracy()],
)
model.fit(images, labels, epochs=2, batch_size=24)
