"""A digit classifier."""

import keras
import tensorflow as tf


class Network(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(128, "sigmoid")
        self.second = keras.layers.Dense(64, "sigmoid")
        self.third = keras.layers.Dense(10)
        self.mean = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.mean]

    @tf.function
    def call(self, x, training=False):
        return self.third(self.second(self.first(x)))

    @tf.function
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        weights = self.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self.mean.update_state(loss, sample_weight=tf.shape(x)[0])
        return {"loss": self.mean.result()}

    def test_step(self, data):
        x, y = data
        self.mean.update_state(self.compute_loss(x, y, self(x)), sample_weight=tf.shape(x)[0])
        return {"loss": self.mean.result()}


def build():
    model = Network()
    model.compile(
        keras.optimizers.SGD(0.01), keras.losses.CategoricalCrossentropy(from_logits=True)
    )
    return model
