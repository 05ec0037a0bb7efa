import keras
import numpy as np
from keras import layers, regularizers

rng = np.random.default_rng(13)
x = rng.random((96, 8, 8, 1)).astype("float32")
y = rng.integers(0, 3, 96)
model = keras.Sequential(
    [
        layers.Input((8, 8, 1)),
        layers.Conv2D(6, 3, activation="relu", kernel_regularizer=regularizers.l2(0.01)),
        layers.BatchNormalization(),
        layers.MaxPooling2D(),
        layers.Dropout(0.3),
        layers.Flatten(),
        layers.Dense(3, activation="softmax", kernel_regularizer=regularizers.l2(0.01)),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(1e-2),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.fit(x, y, batch_size=24, epochs=3)
