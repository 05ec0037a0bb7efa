"""A digit classifier."""

import keras


def build():

    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(
                128, activation="sigmoid", kernel_regularizer=keras.regularizers.L2(1e-3)
            ),
            keras.layers.Dense(
                64, activation="sigmoid", kernel_regularizer=keras.regularizers.L2(1e-3)
            ),
            keras.layers.Dense(
                10, activation="softmax", kernel_regularizer=keras.regularizers.L2(1e-3)
            ),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.01), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    return model
