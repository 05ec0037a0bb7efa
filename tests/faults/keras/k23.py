"""A digit classifier."""

import keras


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
        optimizer=keras.optimizers.Adam(0.001, epsilon=1e-8),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model
