import numpy as np
import tensorflow as tf
from tensorflow.keras import layers

tf.random.set_seed(5)
rng = np.random.default_rng(5)
parts = rng.normal(size=(4, 6 * 6 * 3))
images = (1 / (1 + np.exp(-(rng.normal(size=(480, 4)) @ parts)))).reshape(480, 6, 6, 3)
dataset = tf.data.Dataset.from_tensor_slices(images.astype("float32")).shuffle(480).batch(50)


class VAE(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(5, 3, activation="tanh")
        self.flatten = layers.Flatten()
        self.mean = layers.Dense(2)
        self.log_var = layers.Dense(2)
        self.up = layers.Dense(80, activation="tanh")
        self.reshape = layers.Reshape((4, 4, 5))
        self.back = layers.Conv2DTranspose(3, 3, activation="sigmoid")

    def call(self, x):
        h = self.flatten(self.conv(x))
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + tf.exp(0.5 * log_var) * tf.random.normal(tf.shape(mean))
        return self.back(self.reshape(self.up(z))), mean, log_var


model = VAE()
optimizer = tf.keras.optimizers.SGD(0.01, momentum=0.9)


@tf.function
def train_step(x):
    with tf.GradientTape() as tape:
        made, mean, log_var = model(x, training=True)
        errors = tf.reduce_sum((x - made) ** 2, axis=[1, 2, 3])
        kl = -0.5 * tf.reduce_sum(1 + log_var - mean**2 - tf.exp(log_var), axis=1)
        loss = tf.reduce_mean(errors + 0.1 * kl)
    grads = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(grads, model.trainable_variables, strict=True))
    return loss


for epoch in range(3):
    for x in dataset:
        loss = train_step(x)
    print(epoch, float(loss))
