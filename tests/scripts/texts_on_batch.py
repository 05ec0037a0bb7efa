"""The same as `texts.py`, by `train_on_batch`."""

import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(0)
texts = [rng.integers(1, 60, n) for n in 3 + rng.geometric(0.3, 200)]
labels = np.array([text.mean() > 30 for text in texts], "float32")

model = keras.Sequential(
    [
        layers.Embedding(60, 8, mask_zero=True),
        layers.LSTM(6),
        layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.1), loss="binary_crossentropy")
for _ in range(3):
    order = np.random.permutation(len(texts))
    for start in range(0, len(texts), 32):
        ids = order[start : start + 32]
        x = keras.utils.pad_sequences([texts[k] for k in ids], padding="post")
        model.train_on_batch(x, labels[ids])
