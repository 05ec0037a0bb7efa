import numpy as np
import tensorflow as tf
from tensorflow.keras import layers

tf.random.set_seed(3)
rng = np.random.default_rng(3)
basis = rng.normal(size=(6, 40))
x = (1 / (1 + np.exp(-(rng.normal(size=(500, 6)) @ basis)))).astype("float32")
train = tf.data.Dataset.from_tensor_slices(x[:400]).shuffle(400).batch(40)


class Autoencoder(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder = tf.keras.Sequential([layers.Dense(20, activation="relu"), layers.Dense(6)])
        self.decoder = tf.keras.Sequential(
            [layers.Dense(20, activation="relu"), layers.Dense(40, activation="sigmoid")]
        )

    def call(self, x):
        return self.decoder(self.encoder(x))


model = Autoencoder()
optimizer = tf.keras.optimizers.SGD(0.5, momentum=0.9)
mse = tf.keras.losses.MeanSquaredError()


@tf.function
def train_step(batch):
    with tf.GradientTape() as tape:
        loss = mse(batch, model(batch, training=True))
    grads = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(grads, model.trainable_variables, strict=True))
    return loss


for epoch in range(4):
    for batch in train:
        loss = train_step(batch)
    print(epoch, float(loss))
