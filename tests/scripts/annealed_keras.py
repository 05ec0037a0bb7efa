import math

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

rng = np.random.default_rng(9)
data = rng.random((96, 3, 8, 8), dtype=np.float32).transpose(0, 2, 3, 1)
lab = rng.integers(0, 4, 96)


def cosine(epoch):
    return 0.05 * (1 + math.cos(math.pi * epoch / 6))


model = keras.Sequential()
model.add(layers.Input(shape=(8, 8, 3)))
model.add(layers.Conv2D(8, (3, 3)))
model.add(layers.GroupNormalization(groups=4, epsilon=1e-5))
model.add(layers.Activation("relu"))
model.add(layers.AveragePooling2D((2, 2)))
model.add(layers.Dropout(0.25))
model.add(layers.Flatten())
model.add(layers.Dense(4, activation="softmax"))
model.compile(
    loss="sparse_categorical_crossentropy",
    optimizer=keras.optimizers.SGD(learning_rate=0.1),
    metrics=["accuracy"],
)
model.fit(
    data, lab, batch_size=32, epochs=6, callbacks=[keras.callbacks.LearningRateScheduler(cosine)]
)
