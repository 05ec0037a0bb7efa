"""A Keras script as it stands: prices of houses, made on the spot. `train_torch.py` is its port.

python -m mnist_mlp check examples/train_keras.py examples/train_torch.py
"""

import keras
import numpy as np

rng = np.random.default_rng(0)
x_train = rng.normal(size=(404, 13))
y_train = x_train @ rng.uniform(-1, 1, 13) + rng.normal(0, 0.1, 404)

model = keras.Sequential(
    [
        keras.Input((13,)),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(1),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse", metrics=["mae"])
model.fit(x_train, y_train, batch_size=16, epochs=20)
model.save("houses.keras")
