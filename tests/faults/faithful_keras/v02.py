"""A digit classifier."""

import keras


class Network(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = keras.layers.Dense(10)
        self.hidden = [keras.layers.Dense(n, activation="sigmoid") for n in (128, 64)]

    def call(self, x):
        for layer in self.hidden:
            x = layer(x)
        return keras.ops.softmax(self.out(x))


def build():
    model = Network()
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate=0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
    )
    return model
