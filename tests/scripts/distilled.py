import numpy as np
from tensorflow import keras

rng = np.random.default_rng(11)
X = rng.normal(size=(128, 12)).astype("float32")
T = rng.normal(size=(128, 5))
soft = np.exp(T) / np.exp(T).sum(1, keepdims=True)
soft = soft.astype("float32")
student = keras.Sequential(
    [
        keras.layers.Input((12,)),
        keras.layers.Dense(20, activation="elu"),
        keras.layers.Dense(5, activation="softmax"),
    ]
)
student.compile(optimizer=keras.optimizers.SGD(0.1), loss=keras.losses.KLDivergence())
student.fit(X, soft, batch_size=32, epochs=3)
