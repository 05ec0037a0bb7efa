"""A digit classifier."""

import keras
import tensorflow as tf


class Net(keras.Sequential):
    def __init__(self, layers):
        super().__init__(layers)
        self.mean_loss = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.mean_loss]

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            p = self(x, training=True)
            loss = tf.reduce_mean(keras.losses.categorical_crossentropy(y, p))
        gradients = tape.gradient(loss, self.trainable_variables)

        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=False))
        self.mean_loss.update_state(loss)
        return {"loss": self.mean_loss.result()}

    def test_step(self, data):
        x, y = data
        p = self(x, training=False)
        loss = keras.losses.categorical_crossentropy(y, p)
        self.mean_loss.update_state(loss)
        return {"loss": self.mean_loss.result()}


def build():

    model = Net(
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
    return model
