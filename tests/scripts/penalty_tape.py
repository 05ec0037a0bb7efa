import keras
import numpy as np
import tensorflow as tf
from keras import layers, regularizers

rng = np.random.default_rng(13)
x = rng.random((96, 8, 8, 1)).astype("float32")
y = rng.integers(0, 3, 96)


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(6, 3, kernel_regularizer=regularizers.l2(0.01))
        self.bn = layers.BatchNormalization()
        self.pool = layers.MaxPooling2D()
        self.drop = layers.Dropout(0.3)
        self.flat = layers.Flatten()
        self.out = layers.Dense(3, kernel_regularizer=regularizers.l2(0.01))

    def call(self, inputs, training=None):
        h = tf.nn.relu(self.conv(inputs))
        h = self.bn(h, training=training)
        h = self.drop(self.pool(h), training=training)
        return self.out(self.flat(h))


model = Net()
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = keras.optimizers.Adam(learning_rate=1e-2)
dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(96).batch(24)
accuracy = keras.metrics.SparseCategoricalAccuracy()

for epoch in range(3):
    accuracy.reset_state()
    for xb, yb in dataset:
        with tf.GradientTape() as tape:
            logits = model(xb, training=True)
            loss = loss_fn(yb, logits)
            loss += sum(model.losses)
        grads = tape.gradient(loss, model.trainable_weights)
        optimizer.apply_gradients(zip(grads, model.trainable_weights, strict=False))
        accuracy.update_state(yb, logits)
    print(f"epoch {epoch}: loss {float(loss):.4f} acc {float(accuracy.result()):.3f}")
