"""A digit classifier."""

import keras


def build():

    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(128, activation="sigmoid", kernel_initializer="he_uniform"),
            keras.layers.Dense(64, activation="sigmoid", kernel_initializer="he_uniform"),
            keras.layers.Dense(10, activation="softmax", kernel_initializer="he_uniform"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.01), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    return model
