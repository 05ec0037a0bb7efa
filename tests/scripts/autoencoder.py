"""A denoising-free dense autoencoder; the encoder and decoder are models of their own."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(3)
rng = np.random.default_rng(3)
basis = rng.normal(size=(6, 40))
x = 1 / (1 + np.exp(-(rng.normal(size=(500, 6)) @ basis)))
x = x.astype("float32")
x_train, x_test = x[:400], x[400:]

encoder = keras.Sequential(
    [keras.Input((40,)), layers.Dense(20, activation="relu"), layers.Dense(6)], name="encoder"
)
decoder = keras.Sequential(
    [
        keras.Input((6,)),
        layers.Dense(20, activation="relu"),
        layers.Dense(40, activation="sigmoid"),
    ],
    name="decoder",
)


class Autoencoder(keras.Model):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def call(self, x):
        return self.decoder(self.encoder(x))


autoencoder = Autoencoder(encoder, decoder)
autoencoder.compile(
    optimizer=keras.optimizers.SGD(0.5, momentum=0.9), loss=keras.losses.MeanSquaredError()
)
autoencoder.fit(
    x_train, x_train, epochs=4, batch_size=40, shuffle=True, validation_data=(x_test, x_test)
)
codes = autoencoder.encoder.predict(x_test)
