"""A variational autoencoder with a train_step of its own; fit is given the images alone."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

keras.utils.set_random_seed(5)
rng = np.random.default_rng(5)
parts = rng.normal(size=(4, 6 * 6 * 3))
images = 1 / (1 + np.exp(-(rng.normal(size=(480, 4)) @ parts)))
images = images.reshape(480, 6, 6, 3).astype("float32")


class Sampling(layers.Layer):
    def call(self, inputs):
        mean, log_var = inputs
        noise = tf.random.normal(tf.shape(mean))
        return mean + ops.exp(0.5 * log_var) * noise


pictures = keras.Input((6, 6, 3))
h = layers.Conv2D(5, 3, activation="tanh")(pictures)
h = layers.Flatten()(h)
z_mean = layers.Dense(2, name="z_mean")(h)
z_log_var = layers.Dense(2, name="z_log_var")(h)
z = Sampling()([z_mean, z_log_var])
encoder = keras.Model(pictures, [z_mean, z_log_var, z], name="encoder")

codes = keras.Input((2,))
h = layers.Dense(4 * 4 * 5, activation="tanh")(codes)
h = layers.Reshape((4, 4, 5))(h)
h = layers.Conv2DTranspose(3, 3, activation="sigmoid")(h)
decoder = keras.Model(codes, h, name="decoder")


class VAE(keras.Model):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.loss_tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.loss_tracker]

    def train_step(self, data):
        with tf.GradientTape() as tape:
            mean, log_var, z = self.encoder(data)
            made = self.decoder(z)
            errors = ops.sum(ops.square(data - made), axis=(1, 2, 3))
            kl = -0.5 * ops.sum(1 + log_var - ops.square(mean) - ops.exp(log_var), axis=1)
            loss = ops.mean(errors) + 0.1 * ops.mean(kl)
        grads = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(grads, self.trainable_weights, strict=True))
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}


vae = VAE(encoder, decoder)
vae.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9))
vae.fit(images, epochs=3, batch_size=50)
