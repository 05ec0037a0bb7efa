"""A subclass with its own train_step, from the guide 'Customizing what happens in fit'."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class CustomModel(keras.Model):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.mae_metric = keras.metrics.MeanAbsoluteError(name="mae")
        self.loss_fn = keras.losses.MeanSquaredError()

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.loss_fn(y, y_pred)
        grads = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(grads, self.trainable_variables)
        self.loss_tracker.update_state(loss)
        self.mae_metric.update_state(y, y_pred)
        return {"loss": self.loss_tracker.result(), "mae": self.mae_metric.result()}

    @property
    def metrics(self):
        return [self.loss_tracker, self.mae_metric]


np.random.seed(1)
x = np.random.random((1000, 32)).astype("float32")
y = (x.sum(axis=1, keepdims=True) / 10 + 0.1 * np.random.randn(1000, 1)).astype("float32")
norm = layers.Normalization()
norm.adapt(x)
inputs = keras.Input(shape=(32,))
h = layers.Dense(16, activation="elu", kernel_regularizer=keras.regularizers.L2(1e-3))(norm(inputs))
outputs = layers.Dense(1)(h)
model = CustomModel(inputs, outputs)
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.01, momentum=0.8, nesterov=True))
model.fit(x, y, epochs=3, batch_size=50, callbacks=[keras.callbacks.TerminateOnNaN()])
