import numpy as np
import tensorflow as tf
from tensorflow import keras

rng = np.random.default_rng(14)
x = rng.normal(size=(120, 16)).astype("float32")
y = rng.integers(0, 5, 120)
reg = keras.regularizers.L2(0.5e-2)


class Block(keras.layers.Layer):
    def __init__(self, dim):
        super().__init__()
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-5, gamma_regularizer=reg, beta_regularizer=reg
        )
        self.fc1 = keras.layers.Dense(2 * dim, kernel_regularizer=reg, bias_regularizer=reg)
        self.fc2 = keras.layers.Dense(dim, kernel_regularizer=reg, bias_regularizer=reg)

    def call(self, x):
        return x + self.fc2(tf.nn.gelu(self.fc1(self.norm(x))))


class ResMLP(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Block(16) for _ in range(2)]
        self.head = keras.layers.Dense(5, kernel_regularizer=reg, bias_regularizer=reg)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    def train_step(self, data):
        xb, yb = data
        with tf.GradientTape() as tape:
            logits = self(xb, training=True)
            loss = self.compute_loss(y=yb, y_pred=logits)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}


model = ResMLP()
model.compile(
    optimizer=keras.optimizers.Adam(3e-3, epsilon=1e-8),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(x, y, batch_size=24, epochs=3)
