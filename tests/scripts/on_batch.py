"""Three dense layers of sigmoids, batch by batch."""

import keras
import numpy as np
from keras import layers

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train = x_train.reshape(-1, 784).astype("float32") / 255
x_test = x_test.reshape(-1, 784).astype("float32") / 255

model = keras.Sequential(
    [
        layers.Input((784,)),
        layers.Dense(32, activation="sigmoid"),
        layers.Dense(16, activation="sigmoid"),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(
    optimizer=keras.optimizers.SGD(0.1),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)

batch_size = 50
for epoch in range(2):
    order = np.random.permutation(len(x_train))
    for i in range(0, len(x_train), batch_size):
        batch = order[i : i + batch_size]
        logs = model.train_on_batch(x_train[batch], y_train[batch], return_dict=True)
    print("epoch", epoch, logs)

print(model.evaluate(x_test, y_test))
