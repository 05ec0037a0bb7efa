"""A convolutional autoencoder of coloured pictures, trained by fit(x, x)."""

import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(6)
parts = rng.normal(size=(5, 8 * 8 * 3))
x = 1 / (1 + np.exp(-(rng.normal(size=(300, 5)) @ parts)))
x = x.reshape(300, 8, 8, 3).astype("float32")

model = keras.Sequential(
    [
        keras.Input((8, 8, 3)),
        layers.Conv2D(6, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(2, 1),
        layers.UpSampling2D(2),
        layers.Conv2D(3, 3, padding="same", activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse")
model.fit(x, x, epochs=3, batch_size=32)
