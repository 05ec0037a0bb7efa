import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

rng = np.random.default_rng(0)
X = rng.normal(size=(100, 10, 10, 3)).astype("float32")
y = rng.integers(0, 3, 100)
base = keras.Sequential(
    [
        layers.Input((10, 10, 3)),
        layers.Conv2D(6, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(8, 3, activation="relu"),
        layers.Flatten(),
    ]
)
base.trainable = False
inputs = keras.Input((10, 10, 3))
x = base(inputs, training=False)
outputs = layers.Dense(3, activation="softmax")(x)
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(X, y, epochs=3, batch_size=25)
