"""A digit classifier."""

import keras


def build():

    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(
                128,
                activation="sigmoid",
                bias_initializer=keras.initializers.RandomUniform(-(784**-0.5), 784**-0.5),
            ),
            keras.layers.Dense(
                64,
                activation="sigmoid",
                bias_initializer=keras.initializers.RandomUniform(-(128**-0.5), 128**-0.5),
            ),
            keras.layers.Dense(
                10,
                activation="softmax",
                bias_initializer=keras.initializers.RandomUniform(-(64**-0.5), 64**-0.5),
            ),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.01), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    return model
