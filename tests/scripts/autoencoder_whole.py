import tensorflow as tf
from sklearn.datasets import load_digits
from tensorflow.keras import layers

x = (load_digits().data[:200] / 16).astype("float32")


class Autoencoder(tf.keras.Model):
    def __init__(self, latent_dim):
        super().__init__()
        self.encoder = tf.keras.Sequential(
            [layers.Dense(32, activation="relu"), layers.Dense(latent_dim)]
        )
        self.decoder = tf.keras.Sequential(
            [layers.Dense(32, activation="relu"), layers.Dense(64, activation="sigmoid")]
        )

    def call(self, x):
        return self.decoder(self.encoder(x))


autoencoder = Autoencoder(8)
autoencoder.compile(optimizer=tf.keras.optimizers.SGD(0.5), loss=tf.keras.losses.MeanSquaredError())
autoencoder.fit(x, x, epochs=3, batch_size=25, shuffle=True)
