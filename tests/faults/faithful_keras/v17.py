"""A digit classifier."""

import keras

hidden = keras.Sequential(
    [
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation=keras.activations.sigmoid),
        keras.layers.Dense(64, activation=keras.ops.sigmoid),
    ]
)
model = keras.Sequential([keras.Input((28, 28)), hidden, keras.layers.Dense(10, "softmax")])
model.compile(
    keras.optimizers.SGD(0.01), "categorical_crossentropy", metrics=["categorical_accuracy"]
)
port = {"model": model, "fit": {"batch_size": 128, "epochs": 10}}
