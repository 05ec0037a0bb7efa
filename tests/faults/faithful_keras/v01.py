"""A digit classifier."""

import keras


def build():
    images = keras.Input((784,), name="pixels")
    x = keras.layers.Dense(128, activation="sigmoid", name="first")(images)
    x = keras.layers.Dense(64, activation="sigmoid", name="second")(x)
    model = keras.Model(images, keras.layers.Dense(10, activation="softmax", name="classes")(x))
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return model
