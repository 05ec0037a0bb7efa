import numpy as np
import tensorflow as tf
from tensorflow.keras import Sequential, layers, optimizers

gen = np.random.default_rng(6)
features = gen.normal(size=(150, 8)).astype(np.float32)
target = (features @ gen.normal(size=(8, 1)) + 0.1 * gen.normal(size=(150, 1))).astype(np.float32)

ds = tf.data.Dataset.from_tensor_slices((features, target)).shuffle(150).batch(30)

net = Sequential(
    [
        layers.Input((8,)),
        layers.Dense(
            16,
            kernel_initializer=tf.keras.initializers.VarianceScaling(
                1.0, "fan_avg", "untruncated_normal"
            ),
        ),
        layers.ELU(),
        layers.Dense(
            16,
            kernel_initializer=tf.keras.initializers.VarianceScaling(
                1.0, "fan_avg", "untruncated_normal"
            ),
        ),
        layers.LeakyReLU(negative_slope=0.1),
        layers.Dense(
            1,
            kernel_initializer=tf.keras.initializers.VarianceScaling(
                1.0, "fan_avg", "untruncated_normal"
            ),
        ),
    ]
)
optimizer = optimizers.SGD(0.02)


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        pred = net(x, training=True)
        loss = tf.reduce_mean(tf.square(y - pred))
    grads = tape.gradient(loss, net.trainable_variables)
    optimizer.apply_gradients(zip(grads, net.trainable_variables, strict=False))
    return loss


for epoch in range(4):
    losses = [float(train_step(x, y)) for x, y in ds]
    print(epoch, np.mean(losses))
