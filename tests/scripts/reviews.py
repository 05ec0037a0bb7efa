import numpy as np
from tensorflow import keras
from tensorflow.keras.layers import LSTM, Dense, Embedding, Input
from tensorflow.keras.models import Sequential
from tensorflow.keras.preprocessing.sequence import pad_sequences

rng = np.random.RandomState(0)
texts = [rng.randint(1, 40, rng.randint(3, 12)).tolist() for _ in range(120)]
labels = rng.randint(0, 2, 120)
X = pad_sequences(texts, maxlen=12, padding="post")
model = Sequential([Input((12,)), Embedding(40, 8), LSTM(6), Dense(1, activation="sigmoid")])
model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.SGD(0.1), metrics=["accuracy"])
model.fit(X, labels, batch_size=20, epochs=2)
