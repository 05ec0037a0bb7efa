"""A digit classifier."""

import keras
import numpy as np
from sklearn.model_selection import train_test_split

from mnist_mlp.data import load_dataset


def rows():
    data = load_dataset("mnist")
    train, test = train_test_split(np.arange(4000), test_size=0.25, random_state=42)
    x = data.flat()[:4000].astype("float32") / 255
    y = keras.utils.to_categorical(data.labels[:4000], 10)
    return (x[train], y[train]), (x[test], y[test])


def build():

    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(128, activation="sigmoid"),
            keras.layers.Dense(64, activation="sigmoid"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.01), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    train, test = rows()
    return {
        "model": model,
        "loader": train,
        "fit": {"batch_size": 128, "validation_data": test},
    }
