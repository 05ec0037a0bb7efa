"""A digit classifier."""

import keras


def build():
    decay = keras.optimizers.schedules.ExponentialDecay(0.01, 100, 0.9)
    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(128, activation="sigmoid"),
            keras.layers.Dense(64, activation="sigmoid"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(decay), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    return model
