"""A digit classifier."""

import tempfile

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
    return {
        "model": model,
        "fit": {
            "batch_size": 128,
            "epochs": 10,
            "shuffle": True,
            "verbose": 2,
            "callbacks": [
                keras.callbacks.EarlyStopping(patience=50),
                keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate),
                keras.callbacks.ModelCheckpoint(tempfile.mkdtemp() + "/{epoch}.keras"),
                keras.callbacks.TerminateOnNaN(),
            ],
        },
    }
