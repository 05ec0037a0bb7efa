"""A digit classifier."""

import keras


def build():
    keras.utils.set_random_seed(123)
    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(
                128,
                activation="sigmoid",
                kernel_initializer=keras.initializers.GlorotUniform(seed=5),
            ),
            keras.layers.Dense(64, activation="sigmoid"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.01), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    return model
