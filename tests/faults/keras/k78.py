import keras
import tensorflow as tf


class Network(keras.Sequential):
    def train_step(self, data):
        x, y = data
        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
        return {"objective": loss}


def build():
    model = Network(
        [
            keras.Input((784,)),
            keras.layers.Dense(128, "sigmoid"),
            keras.layers.Dense(64, "sigmoid"),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy())
    return model
