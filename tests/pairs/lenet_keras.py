"""LeNet with batch normalisation and dropout, on rows of the data set."""

import keras
from keras import layers

SHAPE = (28, 28, 1)


def body(activation="relu"):
    return [
        layers.Conv2D(6, 5, padding="same"),
        layers.BatchNormalization(),
        layers.Activation(activation),
        layers.MaxPooling2D(2),
        layers.Conv2D(8, 3, strides=2, padding="same", activation=activation),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(24, activation=activation),
        layers.Dropout(0.25),
        layers.Dense(10, activation="softmax"),
    ]


def build():
    model = keras.Sequential([keras.Input(SHAPE), *body()])
    model.compile(
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9), loss="sparse_categorical_crossentropy"
    )
    return {"model": model, "fit": {"batch_size": 32}}


def adam():
    model = keras.Sequential([keras.Input(SHAPE), *body("leaky_relu")])
    model.compile(optimizer=keras.optimizers.Adam(0.002), loss="sparse_categorical_crossentropy")
    return {"model": model, "fit": {"batch_size": 32}}


def penalised():
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Flatten(),
            layers.Dense(16, activation="gelu", kernel_regularizer="l2"),
            layers.LayerNormalization(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.05, nesterov=True, momentum=0.9),
        loss="sparse_categorical_crossentropy",
    )
    return {"model": model, "fit": {"batch_size": 32}}
