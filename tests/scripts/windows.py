# Forecasting a noisy sine with an LSTM, windows made by hand
import numpy as np
import tensorflow as tf
from tensorflow.keras import layers, models

tf.random.set_seed(0)
np.random.seed(0)

t = np.arange(500)
series = np.sin(0.1 * t) + 0.1 * np.random.randn(500)
series = (series - series.mean()) / series.std()

WINDOW = 20


def windowed(series, window):
    xs, ys = [], []
    for i in range(len(series) - window):
        xs.append(series[i : i + window])
        ys.append(series[i + window])
    return np.array(xs, dtype="float32")[..., None], np.array(ys, dtype="float32")[:, None]


X, y = windowed(series, WINDOW)
split = 400
model = models.Sequential()
model.add(layers.Input((WINDOW, 1)))
model.add(layers.LSTM(16))
model.add(layers.Dense(1))
model.compile(
    loss="mse",
    optimizer=tf.keras.optimizers.SGD(learning_rate=0.05, momentum=0.9, global_clipnorm=0.5),
)
model.fit(
    X[:split],
    y[:split],
    epochs=5,
    batch_size=32,
    shuffle=False,
    validation_data=(X[split:], y[split:]),
    verbose=2,
)
print(model.predict(X[split:])[:5])
