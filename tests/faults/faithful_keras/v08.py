"""A digit classifier."""

import keras


def build():
    rate = keras.optimizers.schedules.ExponentialDecay(0.01, 1000, 1.0)
    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(128, activation="sigmoid"),
            keras.layers.Dense(64, activation="sigmoid"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(rate), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    return model
