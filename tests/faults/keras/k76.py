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
        optimizer=keras.optimizers.SGD(0.01), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    return {"model": model, "fit": {"batch_size": 128, "validation_split": 0.1}}
