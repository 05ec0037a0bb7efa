import keras
import numpy as np

rng = np.random.default_rng(17)
X = rng.normal(size=(100, 6)).astype("float32")
Y = rng.normal(size=(100, 1)).astype("float32")
net = keras.Sequential(
    [keras.Input((6,)), keras.layers.Dense(12, activation="softplus"), keras.layers.Dense(1)]
)
net.compile(optimizer=keras.optimizers.Lion(0.01), loss=keras.losses.Huber())
net.fit(X, Y, batch_size=20, epochs=3)
